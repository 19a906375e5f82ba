"""Beam search: the most probable continuation, as far as a few at a time can find it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Beams(NamedTuple):
    """The `K` best continuations so far, best first. Every leaf of `carry` has K in front."""

    carry: Any
    tokens: Int[Array, "K T"]  # those from `num_drawn` on are not drawn yet
    log_probs: Float[Array, "K"]  # of all tokens so far, in nats; -inf where there are fewer than K
    is_ended: Bool[Array, "K"]
    num_drawn: Int[Array, ""]


NextLogits = Callable[[Any, Int[Array, "K"]], tuple[Float[Array, "K V"], Any]]


def init_beams(carry: Any, num_beams: int, num_tokens: int) -> Beams:
    """Before the first token.

    Args:
      carry: state that all continues from, `num_beams` times over.
      num_beams: K.
      num_tokens: T.
    """
    return Beams(
        carry=carry,
        tokens=jnp.zeros((num_beams, num_tokens), jnp.int32),
        # But one beam is empty, so that the first step does not find each token K times.
        log_probs=jnp.full(num_beams, -jnp.inf).at[0].set(0.0),
        is_ended=jnp.zeros(num_beams, bool),
        num_drawn=jnp.zeros((), jnp.int32),
    )


def beam_step(
    beams: Beams, next_logits: NextLogits, first: Int[Array, ""] | int, end: int | None = None
) -> Beams:
    """Extends every beam by every token and keeps the K best of all, by the sum of log-probs.

    Args:
      beams: before this step.
      next_logits: (carry, tokens) to the logits after these tokens, and the new carry.
      first: the token that all is drawn after.
      end: the token that ends a continuation: what follows it are only more of
        it, at no cost. None if none does.
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


def beam_search(
    next_logits: NextLogits,
    carry: Any,
    first: Int[Array, ""] | int,
    num_beams: int,
    num_tokens: int,
    end: int | None = None,
) -> Beams:
    """All `num_tokens` steps; arguments as `init_beams` and `beam_step` have them.

    Exact if `num_beams` holds all beginnings, V ** (num_tokens - 1); greedy if it is 1.
    """
    return jax.lax.fori_loop(
        0,
        num_tokens,
        lambda _, beams: beam_step(beams, next_logits, first, end),
        init_beams(carry, num_beams, num_tokens),
    )
