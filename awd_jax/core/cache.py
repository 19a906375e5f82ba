"""The continuous cache pointer of Grave, Joulin and Usunier (2017, arXiv 1612.04426).

With h_i the last layer's output at position i, before its dropout, and x_{i+1}
the token that came next, the last W positions point at what came after them:

    p_cache(w) = sum over i in [t - W, t) of 1[x_{i+1} = w] softmax_i(theta h_t . h_i)
    p(w) = lamb p_cache(w) + (1 - lamb) p_vocab(w)

While fewer than W positions have been seen, the softmax is over those there
are; before the first, p is p_vocab. The history goes on from chunk to chunk, so
how a text is cut does not change the result.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NO_TOKEN = -1  # what follows a position that was never seen


class CacheState(NamedTuple):
    """The last W positions of one sequence whose next token is known, oldest first."""

    hs: Float[Array, "W H"]
    next_tokens: Int[Array, "W"]  # NO_TOKEN where there is no position yet


class CacheScore(NamedTuple):
    """What the cache says of each target of a chunk."""

    log_probs: Float[Array, "T"]  # log p_cache(target), in nats; -inf where it is not in the cache
    is_empty: Bool[Array, "T"]  # no position has been seen before this one


def init_cache(window: int, hidden_dim: int) -> CacheState:
    """The state before a text: no position."""
    return CacheState(
        hs=jnp.zeros((window, hidden_dim)),
        next_tokens=jnp.full((window,), NO_TOKEN, jnp.int32),
    )


def cache_step(
    state: CacheState,
    hs: Float[Array, "T H"],
    targets: Int[Array, "T"],
    theta: Float[Array, ""] | float,
    window: Int[Array, ""] | int | None = None,
) -> tuple[CacheScore, CacheState]:
    """Scores a chunk of T positions at once, then takes them into the cache.

    One product of [T, H] with [H, W + T], of which each row uses a band of W.
    Padding may only be at the end of a text: what comes after it would see it.

    Args:
      state: of the chunk before, or from `init_cache`.
      hs: h_t of each position.
      targets: x_{t+1} of each position.
      theta: how much a larger product h_t . h_i weighs; 0 weighs all positions alike.
      window: use only so many of the latest positions, at most W; None for all W.
    """
    num_slots, num_steps = state.hs.shape[0], hs.shape[0]
    all_hs = jnp.concatenate([state.hs, hs])
    all_next = jnp.concatenate([state.next_tokens, targets.astype(jnp.int32)])
    # Column num_slots + t is position t itself, whose next token is what is asked for.
    age = num_slots + jnp.arange(num_steps)[:, None] - jnp.arange(num_slots + num_steps)[None]
    reach = num_slots if window is None else window
    is_visible = (age >= 1) & (age <= reach) & (all_next != NO_TOKEN)[None]
    # The default on a GPU may be TF32, whose error theta multiplies in an exponent.
    products = jnp.matmul(hs, all_hs.T, precision=jax.lax.Precision.HIGHEST)
    # The largest becomes 0, which changes no probability: a large theta would make it infinite.
    best = jnp.max(jnp.where(is_visible, products, -jnp.inf), axis=1, keepdims=True)
    scores = jnp.where(is_visible, theta * (products - best), -jnp.inf)
    is_hit = all_next[None] == targets[:, None]
    is_empty = ~is_visible.any(axis=1)
    total = jax.nn.logsumexp(scores, axis=1)
    hit = jax.nn.logsumexp(jnp.where(is_hit, scores, -jnp.inf), axis=1)
    log_probs = hit - jnp.where(is_empty, 0.0, total)
    new = CacheState(hs=all_hs[num_steps:], next_tokens=all_next[num_steps:])
    return CacheScore(log_probs, is_empty), new


def mix_cache(
    log_p_vocab: Float[Array, "T"], score: CacheScore, lamb: Float[Array, ""] | float
) -> Float[Array, "T"]:
    """log(lamb p_cache + (1 - lamb) p_vocab), in nats; log p_vocab where the cache is empty.

    Args:
      log_p_vocab: log-probability of each target by the softmax.
      score: of `cache_step`.
      lamb: share of the cache, in [0, 1).
    """
    mixed = jnp.logaddexp(jnp.log(lamb) + score.log_probs, jnp.log1p(-lamb) + log_p_vocab)
    return jnp.where(score.is_empty, log_p_vocab, mixed)
