"""Log-probabilities of the next token from features."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from awd_jax.core.losses import token_nll
from awd_jax.core.product import product

# So many logits may be in memory at a time, 32 MiB of float32; or twice as many as the embedding
# has entries, whose gradient is written for each block. A single time step is not cut.
BLOCK_LOGITS = 2**23


def tied_logits(
    features: Float[Array, "*T B D"], embedding: Float[Array, "V D"], bias: Float[Array, "V"]
) -> Float[Array, "*T B V"]:
    """Unnormalised log-probabilities, in nats: features @ embedding^T + bias.

    The output layer is the embedding itself (Inan et al. 2017, Press and Wolf
    2017), without the embedding's dropout.
    """
    logits = product(features, embedding.T)
    return logits + jnp.broadcast_to(bias, logits.shape)


@jax.custom_vjp
def tied_nll(
    features: Float[Array, "T B D"],
    embedding: Float[Array, "V D"],
    bias: Float[Array, "V"],
    targets: Int[Array, "T B"],
    weights: Float[Array, "T B"],
) -> Float[Array, ""]:
    """The sum of weights * `token_nll` of `tied_logits`, in nats, by blocks of time steps.

    It never has all T * B * V logits in memory: the gradient of a block is made
    while its logits are there, and the backward pass needs none of them. The
    weights are constants, without a gradient.
    """
    blocks = in_blocks((features, targets, weights), embedding)

    def step(nll: Array, block: tuple) -> tuple[Array, None]:
        return nll + _block_nll(block[0], embedding, bias, *block[1:]), None

    return jax.lax.scan(step, jnp.zeros((), bias.dtype), blocks)[0]


def _tied_nll_forward(
    features: Array, embedding: Array, bias: Array, targets: Array, weights: Array
) -> tuple[Array, tuple]:
    blocks = in_blocks((features, targets, weights), embedding)
    value_and_grad = jax.value_and_grad(_block_nll, argnums=(0, 1, 2))

    def step(sums: tuple, block: tuple) -> tuple[tuple, Array]:
        nll, (d_features, *d_params) = value_and_grad(block[0], embedding, bias, *block[1:])
        return jax.tree.map(jnp.add, sums, (nll, *d_params)), d_features

    zeros = (jnp.zeros((), bias.dtype), jnp.zeros_like(embedding), jnp.zeros_like(bias))
    (nll, *d_params), d_features = jax.lax.scan(step, zeros, blocks)
    return nll, (d_features.reshape(features.shape), *d_params)


def _tied_nll_backward(grads: tuple, d_nll: Array) -> tuple:
    scaled = ((d_nll * grad.astype(d_nll.dtype)).astype(grad.dtype) for grad in grads)
    return *scaled, None, None


tied_nll.defvjp(_tied_nll_forward, _tied_nll_backward)


def _block_nll(
    features: Array, embedding: Array, bias: Array, targets: Array, weights: Array
) -> Array:
    return jnp.sum(weights * token_nll(tied_logits(features, embedding, bias), targets))


def in_blocks(
    arrays: tuple[Shaped[Array, "T B ..."], ...], embedding: Float[Array, "V D"]
) -> tuple[Shaped[Array, "K N ..."], ...]:
    """K blocks of N = T * B / K rows each, as few as `BLOCK_LOGITS` allows.

    Rows, and not time steps: were the logits of a block reshaped for its products, XLA would
    make their gradient twice, once for each shape.
    """
    num_steps, batch_size = arrays[0].shape[:2]
    logits_of_step = batch_size * len(embedding)
    max_logits = max(BLOCK_LOGITS, 2 * embedding.size)
    num_blocks = next(
        (
            n
            for n in range(1, num_steps)
            if num_steps % n == 0 and num_steps // n * logits_of_step <= max_logits
        ),
        num_steps,
    )
    return tuple(a.reshape(num_blocks, -1, *a.shape[2:]) for a in arrays)
