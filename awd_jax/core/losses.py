"""Token losses, in nats, and the two activation regularisers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@jax.custom_vjp
def token_nll(logits: Float[Array, "*T B V"], targets: Int[Array, "*T B"]) -> Float[Array, "*T B"]:
    """Returns -log p(target) of each token, in nats: logsumexp(logits) - logits[target].

    The hand-written gradient, p - 1[target], is one pass over the logits; jax's own scatters into
    an array of their size.
    """
    return _token_nll_forward(logits, targets)[0]


def _token_nll_forward(logits: Array, targets: Array) -> tuple[Array, tuple]:
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return log_z - picked, (logits, targets, log_z)


def _token_nll_backward(residuals: tuple, d_nll: Array) -> tuple[Array, None]:
    logits, targets, log_z = residuals
    is_target = jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    p = jnp.exp(logits - jnp.broadcast_to(log_z[..., None], logits.shape))
    return (p - is_target) * jnp.broadcast_to(d_nll[..., None], logits.shape), None


token_nll.defvjp(_token_nll_forward, _token_nll_backward)


def sum_over_real(values: Float[Array, "T B *D"], weights: Float[Array, "T B"]) -> Float[Array, ""]:
    """Averages over features, then sums over the positions of weight 1.

    It is a sum so that parts of a batch add up: divide by the number of positions in the whole
    batch.
    """
    per_position = values.mean(axis=tuple(range(weights.ndim, values.ndim)))
    return jnp.sum(weights * per_position)


def activation_reg(
    dropped_hs: Float[Array, "T B H"], weights: Float[Array, "T B"]
) -> Float[Array, ""]:
    """Returns AR: h^2 of the last layer after its dropout (Merity et al. 2018, 4.6), summed.

    The caller divides by the tokens of the batch and multiplies by alpha.
    """
    return sum_over_real(jnp.square(dropped_hs.astype(weights.dtype)), weights)


def temporal_activation_reg(
    raw_hs: Float[Array, "T B H"], weights: Float[Array, "T B"]
) -> Float[Array, ""]:
    """Returns TAR: (h[t+1] - h[t])^2 of the last layer before its dropout (4.6), summed over pairs.

    A pair counts if its second step is real. The caller divides by the pairs of the batch and
    multiplies by beta.
    """
    hs = raw_hs.astype(weights.dtype)
    return sum_over_real(jnp.square(hs[1:] - hs[:-1]), weights[1:])
