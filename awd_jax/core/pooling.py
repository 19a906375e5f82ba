"""Pooling of a sequence's features into one vector."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def concat_pool(hs: Float[Array, "T B D"], weights: Float[Array, "T B"]) -> Float[Array, "B 3*D"]:
    """Returns [h of the last real step; maximum; mean] over the real steps of each sequence.

    Howard and Ruder 2018 (arXiv 1801.06146), section 3.3. A sequence without any gets zeros.

    Args:
      hs: features.
      weights: 1 real, 0 not.
    """
    is_real = (weights > 0)[..., None]
    hs = hs.astype(weights.dtype)
    last = jnp.where(is_real, hs, 0)[_last_real(weights), jnp.arange(hs.shape[1])]
    largest = jnp.where(is_real, hs, jnp.finfo(hs.dtype).min).max(axis=0)
    largest = jnp.where(is_real.any(axis=0), largest, 0)
    num_real = jnp.maximum(weights.sum(axis=0), 1)[:, None]
    mean = (weights[..., None] * hs).sum(axis=0) / num_real
    return jnp.concatenate([last, largest, mean], axis=-1)


def last_steps(weights: Float[Array, "T B"], num_steps: int) -> Float[Array, "T B"]:
    """Returns the weights of each sequence's last real steps, 0 before them."""
    from_end = jnp.cumsum(weights[::-1], axis=0)[::-1]  # the last real step has 1
    return jnp.where(from_end <= num_steps, weights, 0)


def _last_real(weights: Float[Array, "T B"]) -> Array:
    return len(weights) - 1 - jnp.argmax(weights[::-1] > 0, axis=0)
