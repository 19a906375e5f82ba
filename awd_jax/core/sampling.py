"""Text drawn from a language model, and what may be done to its logits before.

A filter takes logits `[..., V]` to logits: filters compose, and -inf stands for a
token that cannot be drawn.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def temper(logits: Float[Array, "*B V"], temperature: float) -> Float[Array, "*B V"]:
    """Divides by a temperature above 0: below 1 sharpens the distribution, above 1 flattens it.

    The largest logit becomes 0: divided by a tiny temperature, several large ones would all be
    infinite, and equal.
    """
    return (logits - jnp.max(logits, axis=-1, keepdims=True)) / temperature


def forbid(logits: Float[Array, "*B V"], token: int) -> Float[Array, "*B V"]:
    """Leaves one token out."""
    return logits.at[..., token].set(-jnp.inf)


def keep_top_k(logits: Float[Array, "*B V"], k: int) -> Float[Array, "*B V"]:
    """Keeps the k most probable tokens (Fan et al. 2018), and what is as probable as the last."""
    least = jax.lax.top_k(logits, k)[0][..., -1:]
    return jnp.where(logits < least, -jnp.inf, logits)


def keep_nucleus(logits: Float[Array, "*B V"], mass: float) -> Float[Array, "*B V"]:
    """Keeps the fewest tokens that together have the probability `mass` (Holtzman et al. 2020).

    Always the most probable one, and whatever is as probable as the last.

    Args:
      logits: of each distribution.
      mass: in (0, 1].
    """
    rising = jnp.sort(logits, axis=-1)
    # Summed from the least probable on: what is left of 1 in float32 would lose the tail.
    up_to_here = jnp.cumsum(jax.nn.softmax(rising, axis=-1), axis=-1)
    is_kept = (up_to_here > 1 - mass).at[..., -1].set(True)
    least = jnp.min(jnp.where(is_kept, rising, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)


def sample_token(key: Key[Array, ""], logits: Float[Array, "*B V"]) -> Int[Array, "*B"]:
    """One token from each softmax: the argmax of logits + Gumbel noise.

    The noise depends on the key, the row and the token alone, on every platform.
    So the draw does too, but where rounding of the logits decides between two.
    """
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)


def sample_tokens(
    key: Key[Array, ""],
    next_logits: Callable[[Any, Int[Array, "B"]], tuple[Float[Array, "B V"], Any]],
    carry: Any,
    first: Int[Array, "B"],
    num_tokens: int,
) -> Int[Array, "T B"]:
    """Ancestral sampling: each token from the softmax after all before it.

    Token t is drawn with `fold_in(key, t)`: a longer draw begins with a shorter one.

    Args:
      key: of the whole draw.
      next_logits: (carry, tokens) to the logits after these tokens, and the new carry.
      carry: state before `first`.
      first: the tokens that all is drawn after; not part of the result.
      num_tokens: T.
    """

    def step(state: tuple, t: Int[Array, ""]) -> tuple[tuple, Int[Array, "B"]]:
        carry, tokens = state
        logits, carry = next_logits(carry, tokens)
        tokens = sample_token(jax.random.fold_in(key, t), logits)
        return (carry, tokens), tokens

    return jax.lax.scan(step, (carry, first), jnp.arange(num_tokens))[1]
