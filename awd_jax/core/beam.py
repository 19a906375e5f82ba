"""Beam search: an approximate search for the best continuation.

Without penalties the best one is the most probable. With them (Wu et al. 2016) the score is

    log P / lp + cp,  lp = ((5 + length) / 6)^alpha,
    cp = beta * sum over source tokens of log(min(the attention it has had, 1)),

so that long continuations, and those that leave no part of a source out, do not lose for that.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

SMALLEST_ATTENTION = 1e-6  # less counts as this, whose logarithm is finite


class Penalties(NamedTuple):
    """What is in a score beside the probability. The default is nothing."""

    alpha: float = 0.0
    beta: float = 0.0
    # With beta: maps the carry to the attention that each source token has had.
    attended: Callable[[Any], Float[Array, "K S"]] | None = None
    source_weights: Float[Array, "S"] | None = None  # with beta: 1 real, 0 padding


class Beams(NamedTuple):
    """The `K` best continuations so far, best first. Every leaf of `carry` has a leading axis K."""

    carry: Any
    tokens: Int[Array, "K T"]  # positions from `num_drawn` on are not drawn yet
    log_probs: Float[Array, "K"]  # sum over the tokens so far, in nats; -inf for an unused beam
    scores: Float[Array, "K"]  # falling; an ended beam keeps that of its end
    lengths: Int[Array, "K"]  # tokens up to the end, which counts
    is_ended: Bool[Array, "K"]
    num_drawn: Int[Array, ""]  # tokens of each beam so far


NextLogits = Callable[[Any, Int[Array, "K"]], tuple[Float[Array, "K V"], Any]]
UNPENALISED = Penalties()


def init_beams(carry: Any, num_beams: int, num_tokens: int) -> Beams:
    """Returns the beams before the first token.

    Args:
      carry: state that the search starts from, repeated K times along axis 0.
      num_beams: K.
      num_tokens: T.
    """
    # Only beam 0 is alive at first: otherwise the first step would find every token K times.
    only_first = jnp.full(num_beams, -jnp.inf).at[0].set(0.0)
    return Beams(
        carry=carry,
        tokens=jnp.zeros((num_beams, num_tokens), jnp.int32),
        log_probs=only_first,
        scores=jnp.copy(only_first),  # an array of its own: a step may donate both
        lengths=jnp.zeros(num_beams, jnp.int32),
        is_ended=jnp.zeros(num_beams, bool),
        num_drawn=jnp.zeros((), jnp.int32),
    )


def beam_step(
    beams: Beams,
    next_logits: NextLogits,
    first: Int[Array, ""] | int,
    end: int | None = None,
    penalties: Penalties = UNPENALISED,
) -> Beams:
    """Extends every beam by every token and keeps the K with the highest scores.

    Args:
      beams: the beams before this step.
      next_logits: maps (carry, last token of each beam) to the logits of the next token and the
        new carry.
      first: the token before the first drawn one.
      end: the token that ends a continuation. An ended beam only repeats it, at no cost. None:
        no token ends one.
      penalties: of the scores.
    """
    num_beams, _ = beams.tokens.shape
    t = beams.num_drawn
    last = jnp.where(t == 0, first, beams.tokens[:, jnp.maximum(t - 1, 0)])
    logits, carry = next_logits(beams.carry, last)
    step = jax.nn.log_softmax(logits)
    vocab_size = step.shape[-1]
    ended = beams.is_ended[:, None]
    if end is not None:
        only_end = jnp.where(jnp.arange(vocab_size) == end, 0.0, -jnp.inf)
        step = jnp.where(ended, only_end[None], step)
    log_probs = beams.log_probs[:, None] + step
    scores = log_probs / _length_penalty(t + 1, penalties.alpha)
    if penalties.beta:
        scores += _coverage_penalty(carry, penalties)[:, None]
    scores = jnp.where(ended, beams.scores[:, None] + step, scores)
    scores, index = jax.lax.top_k(scores.ravel(), num_beams)
    parents, tokens = index // vocab_size, (index % vocab_size).astype(jnp.int32)
    was_ended = beams.is_ended[parents]
    return Beams(
        carry=jax.tree.map(lambda s: s[parents], carry),
        tokens=beams.tokens[parents].at[:, t].set(tokens),
        log_probs=log_probs.ravel()[index],
        scores=scores,
        lengths=jnp.where(was_ended, beams.lengths[parents], t + 1),
        is_ended=jnp.zeros_like(beams.is_ended) if end is None else tokens == end,
        num_drawn=t + 1,
    )


def search(
    next_logits: NextLogits,
    carry: Any,
    first: Int[Array, ""] | int,
    end: int,
    num_beams: int,
    num_tokens: int,
    penalties: Penalties = UNPENALISED,
) -> Beams:
    """Searches until all beams have ended, as one program; `jax.vmap` runs several at once.

    Args:
      next_logits: as in `beam_step`.
      carry: state that the search starts from, without an axis of beams.
      first: the token before the first drawn one.
      end: the token that ends a continuation.
      num_beams: K.
      num_tokens: of a continuation that does not end before.
      penalties: of the scores.
    """

    def goes_on(beams: Beams) -> Bool[Array, ""]:
        can_grow = ~beams.is_ended & (beams.log_probs > -jnp.inf)
        return (beams.num_drawn < num_tokens) & jnp.any(can_grow)

    repeated = jax.tree.map(lambda s: jnp.broadcast_to(s, (num_beams, *s.shape)), carry)
    return jax.lax.while_loop(
        goes_on,
        lambda beams: beam_step(beams, next_logits, first, end, penalties),
        init_beams(repeated, num_beams, num_tokens),
    )


def _length_penalty(length: Int[Array, ""], alpha: float) -> Float[Array, ""]:
    return ((5.0 + length.astype(jnp.float32)) / 6.0) ** alpha


def _coverage_penalty(carry: Any, penalties: Penalties) -> Float[Array, "K"]:
    assert penalties.attended is not None and penalties.source_weights is not None
    attended = jnp.clip(penalties.attended(carry), SMALLEST_ATTENTION, 1.0)
    logs = jnp.where(penalties.source_weights[None] > 0, jnp.log(attended), 0.0)
    return penalties.beta * jnp.sum(logs, axis=-1)
