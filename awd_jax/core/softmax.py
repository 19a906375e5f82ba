"""Log-probabilities of the next token from features."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def tied_logits(
    features: Float[Array, "*T B D"], embedding: Float[Array, "V D"], bias: Float[Array, "V"]
) -> Float[Array, "*T B V"]:
    """Unnormalised log-probabilities, in nats: features @ embedding^T + bias.

    The output layer is the embedding itself (Inan et al. 2017, Press and Wolf
    2017), without the embedding's dropout.
    """
    logits = features @ embedding.T
    return logits + jnp.broadcast_to(bias, logits.shape)
