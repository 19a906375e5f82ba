"""The continuous cache pointer of Grave, Joulin and Usunier (2017, arXiv 1612.04426).

Let h_i be the last layer's output at position i, before its dropout, and x_{i+1} the
token that follows. Each of the last W positions points at the token that followed it:

    p_cache(w) = sum over i in [t - W, t) of 1[x_{i+1} = w] softmax_i(theta h_t . h_i)
    p(w) = lamb p_cache(w) + (1 - lamb) p_vocab(w)

Until W positions have been seen, the softmax is over the positions seen so far; before
the first, p = p_vocab. The history carries over from call to call, so the way that a text
is cut does not change the result.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NO_TOKEN = -1  # next token of an empty slot


class CacheState(NamedTuple):
    """The last W positions of one sequence whose next token is known, oldest first."""

    hs: Float[Array, "W H"]
    next_tokens: Int[Array, "W"]  # NO_TOKEN in an empty slot


class CacheScore(NamedTuple):
    """What the cache predicts for each target."""

    log_probs: Float[Array, "T"]  # log p_cache(target), in nats; -inf if not in the cache
    is_empty: Bool[Array, "T"]  # no position was seen before this one


def init_cache(window: int, hidden_dim: int) -> CacheState:
    """Returns an empty cache, the state before a text."""
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
    """Scores T positions at once, then adds them to the cache.

    Computes one product of [T, H] and [H, W + T], of which each row uses a band of width W.
    Padding may only come at the end of a text: later positions would see it as history.

    Args:
      state: from the previous call, or from `init_cache`.
      hs: h_t of each position.
      targets: x_{t+1} of each position.
      theta: scale of the products h_t . h_i; 0 weighs all positions alike.
      window: number of latest positions to use, at most W; None uses all W.

    Returns:
      The scores of the T targets, and the state after them.
    """
    num_slots, num_steps = state.hs.shape[0], hs.shape[0]
    all_hs = jnp.concatenate([state.hs, hs])
    all_next = jnp.concatenate([state.next_tokens, targets.astype(jnp.int32)])
    # Column num_slots + t is position t: its next token is the target, so age 0 is masked.
    age = num_slots + jnp.arange(num_steps)[:, None] - jnp.arange(num_slots + num_steps)[None]
    reach = num_slots if window is None else window
    is_visible = (age >= 1) & (age <= reach) & (all_next != NO_TOKEN)[None]
    # A GPU may default to TF32, and theta multiplies its error inside an exponential.
    products = jnp.matmul(hs, all_hs.T, precision=jax.lax.Precision.HIGHEST)
    # Shifting the largest to 0 changes no probability, and a large theta cannot overflow.
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
    """Returns log(lamb p_cache + (1 - lamb) p_vocab) in nats; log p_vocab if the cache is empty.

    Args:
      log_p_vocab: log-probability of each target under the softmax.
      score: from `cache_step`.
      lamb: weight of the cache, in [0, 1).
    """
    mixed = jnp.logaddexp(jnp.log(lamb) + score.log_probs, jnp.log1p(-lamb) + log_p_vocab)
    return jnp.where(score.is_empty, log_p_vocab, mixed)
