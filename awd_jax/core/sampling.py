"""Filters of a language model's logits, and sampling from what they leave.

A filter maps logits `[..., V]` to logits, so filters compose; -inf marks a token that
cannot be drawn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def temper(
    logits: Float[Array, "*B V"], temperature: Float[Array, ""] | float
) -> Float[Array, "*B V"]:
    """Divides by a temperature above 0: below 1 sharpens the distribution, above 1 flattens it.

    First shifts the largest logit to 0: divided by a tiny temperature, several large ones would
    all become infinite, and thus equal.
    """
    return (logits - jnp.max(logits, axis=-1, keepdims=True)) / temperature


def forbid(logits: Float[Array, "*B V"], token: int) -> Float[Array, "*B V"]:
    """Excludes one token."""
    return logits.at[..., token].set(-jnp.inf)


def keep_top_k(logits: Float[Array, "*B V"], k: int) -> Float[Array, "*B V"]:
    """Keeps the k most probable tokens (Fan et al. 2018), and any tied with the last of them."""
    least = jax.lax.top_k(logits, k)[0][..., -1:]
    return jnp.where(logits < least, -jnp.inf, logits)


def keep_nucleus(logits: Float[Array, "*B V"], mass: float) -> Float[Array, "*B V"]:
    """Keeps the fewest tokens that together have the probability `mass` (Holtzman et al. 2020).

    Always keeps the most probable token, and any tied with the last one kept.

    Args:
      logits: of each distribution.
      mass: total probability, in (0, 1].
    """
    rising = jnp.sort(logits, axis=-1)
    # Summed from the least probable upwards: summed downwards, float32 would lose the tail.
    up_to_here = jnp.cumsum(jax.nn.softmax(rising, axis=-1), axis=-1)
    is_kept = (up_to_here > 1 - mass).at[..., -1].set(True)
    least = jnp.min(jnp.where(is_kept, rising, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)


def sample_token(key: Key[Array, ""], logits: Float[Array, "*B V"]) -> Int[Array, "*B"]:
    """Draws one token from each softmax: the argmax of logits + Gumbel noise.

    The noise depends on the key, the row and the token alone, on every platform. So does the
    draw, unless the rounding of the logits decides between two tokens.
    """
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
