"""Beam search: an approximate search for the most probable continuation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Beams(NamedTuple):
    """The `K` best continuations so far, best first. Every leaf of `carry` has a leading axis K."""

    carry: Any
    tokens: Int[Array, "K T"]  # positions from `num_drawn` on are not drawn yet
    log_probs: Float[Array, "K"]  # sum over the tokens so far, in nats; -inf for an unused beam
    is_ended: Bool[Array, "K"]
    num_drawn: Int[Array, ""]  # tokens of each beam so far


NextLogits = Callable[[Any, Int[Array, "K"]], tuple[Float[Array, "K V"], Any]]


def init_beams(carry: Any, num_beams: int, num_tokens: int) -> Beams:
    """Returns the beams before the first token.

    Args:
      carry: state that the search starts from, repeated K times along axis 0.
      num_beams: K.
      num_tokens: T.
    """
    return Beams(
        carry=carry,
        tokens=jnp.zeros((num_beams, num_tokens), jnp.int32),
        # Only beam 0 is alive at first: otherwise the first step would find every token K times.
        log_probs=jnp.full(num_beams, -jnp.inf).at[0].set(0.0),
        is_ended=jnp.zeros(num_beams, bool),
        num_drawn=jnp.zeros((), jnp.int32),
    )


def beam_step(
    beams: Beams, next_logits: NextLogits, first: Int[Array, ""] | int, end: int | None = None
) -> Beams:
    """Extends every beam by every token and keeps the K with the highest sums of log-probs.

    Args:
      beams: the beams before this step.
      next_logits: maps (carry, last token of each beam) to the logits of the next token and the
        new carry.
      first: the token before the first drawn one.
      end: the token that ends a continuation. An ended beam only repeats it, at no cost. None:
        no token ends one.
    """
    num_beams, _ = beams.tokens.shape
    t = beams.num_drawn
    last = jnp.where(t == 0, first, beams.tokens[:, jnp.maximum(t - 1, 0)])
    logits, carry = next_logits(beams.carry, last)
    log_probs = jax.nn.log_softmax(logits)
    vocab_size = log_probs.shape[-1]
    if end is not None:
        only_end = jnp.where(jnp.arange(vocab_size) == end, 0.0, -jnp.inf)
        log_probs = jnp.where(beams.is_ended[:, None], only_end[None], log_probs)
    log_probs, index = jax.lax.top_k((beams.log_probs[:, None] + log_probs).ravel(), num_beams)
    parents, tokens = index // vocab_size, (index % vocab_size).astype(jnp.int32)
    return Beams(
        carry=jax.tree.map(lambda s: s[parents], carry),
        tokens=beams.tokens[parents].at[:, t].set(tokens),
        log_probs=log_probs,
        is_ended=jnp.zeros_like(beams.is_ended) if end is None else tokens == end,
        num_drawn=t + 1,
    )
