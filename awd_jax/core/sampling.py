"""Text drawn from a language model."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Key


def sample_tokens(
    key: Key[Array, ""],
    next_logits: Callable[[Any, Int[Array, "B"]], tuple[Float[Array, "B V"], Any]],
    carry: Any,
    first: Int[Array, "B"],
    num_tokens: int,
) -> Int[Array, "T B"]:
    """Ancestral sampling: each token from the softmax after all before it.

    Args:
      key: of the whole draw.
      next_logits: (carry, tokens) to the logits after these tokens, and the new carry.
      carry: state before `first`.
      first: the tokens that all is drawn after; not part of the result.
      num_tokens: T.
    """

    def step(state: tuple, key: Key[Array, ""]) -> tuple[tuple, Int[Array, "B"]]:
        carry, tokens = state
        logits, carry = next_logits(carry, tokens)
        tokens = jax.random.categorical(key, logits, axis=-1).astype(tokens.dtype)
        return (carry, tokens), tokens

    _, drawn = jax.lax.scan(step, (carry, first), jax.random.split(key, num_tokens))
    return drawn
