"""Attention of a window to itself and to a memory of what came before it.

T queries, those of the window, attend to K = M + T keys, of the memory and then of the window.
Query i is at distance p = i + M - j from key j, and sees no key of the future, p < 0. With relative
positions (Dai et al. 2019, arXiv 1901.02860, section 3.3), for each of N heads of H features,

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . r_p) / sqrt(H)

Without them, score(i, j) = q_i . k_j / sqrt(H) (Vaswani et al. 2017, arXiv 1706.03762).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from awd_jax.core import masks as dropout
from awd_jax.core.product import multiply

# Most scores of one layer that are held at once (64 MiB of float32). More of them are computed in
# blocks of queries, and once more in the backward pass. A single query is never split.
BLOCK_SCORES = 2**24

Size = Any  # a number, or a symbol in a program for any number of steps


class Positions(NamedTuple):
    """What the score of a distance is made of."""

    rs: Float[Array, "K N H"]  # of the distances 0, 1, ..., K - 1
    u: Float[Array, "N H"]  # added to the queries of contents
    v: Float[Array, "N H"]  # added to the queries of distances


def sinusoids(positions: Float[Array, "*N"], dim: int) -> Float[Array, "*N D"]:
    """Returns [sin(p w); cos(p w)] with D / 2 frequencies w_n = 10000^(-2n / D)."""
    frequencies = 10_000.0 ** (-jnp.arange(0, dim, 2) / dim)
    angles = jnp.tensordot(positions, frequencies.astype(positions.dtype), axes=0)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def visible(
    num_filled: Int[Array, "B"], num_steps: Size, memory_length: int, same_length: bool = False
) -> Bool[Array, "B T K"]:
    """Returns which keys each query sees: of the past, in slots of the memory that are filled.

    Args:
      num_filled: slots of the memory that are filled, the last ones.
      num_steps: T.
      memory_length: M.
      same_length: each query sees the M latest keys, its own among them, and not those before.
    """
    queries = jnp.arange(num_steps)[:, None]
    keys = jnp.arange(memory_length + num_steps)[None]
    seen = keys <= queries + memory_length
    if same_length:
        seen &= keys > queries
    return seen[None] & (keys[None] >= memory_length - num_filled[:, None, None])


def visible_in_segment(
    num_filled: Int[Array, "B"], num_steps: Size, memory_length: int
) -> Bool[Array, "B T K"]:
    """Returns which keys each query sees if the text falls into segments of M tokens.

    None sees another segment; `num_filled` tokens of the current one are in the memory. Without a
    memory, the window is the segment.
    """
    queries = num_filled[:, None, None] + jnp.arange(num_steps)[None, :, None]
    keys = num_filled[:, None, None] + jnp.arange(-memory_length, num_steps)[None, None]
    seen = keys <= queries
    # Slots that are not filled have ids below 0, in a segment that no query is in.
    return seen & (keys // memory_length == queries // memory_length) if memory_length else seen


def attend(
    queries: Float[Array, "T B N H"],
    keys: Float[Array, "K B N H"],
    values: Float[Array, "K B N H"],
    is_visible: Bool[Array, "B T K"],
    positions: Positions | None = None,
    mask: dropout.Kept | None = None,
) -> Float[Array, "T B N H"]:
    """Returns the mean of the values for each query, weighted by softmax(scores).

    Args:
      queries: of the window.
      keys: of memory and window.
      values: of memory and window.
      is_visible: from `visible`; every query sees one key at least.
      positions: for relative positions; None for scores of the contents alone.
      mask: dropout of the weights, [T, B, N, K].
    """
    num_steps, batch_size, num_heads, head_dim = queries.shape
    num_keys = keys.shape[0]
    wide = jnp.float64 if queries.dtype == jnp.float64 else jnp.float32  # of scores
    block = _block_length(num_steps, batch_size * num_heads * num_keys)
    # One transposition of each, not one for every product with it.
    keys, values = (heads.transpose(1, 2, 0, 3) for heads in (keys, values))
    if positions is not None:
        # The largest distance first; before it a column that `_shift` needs, and after the smallest
        # the future, which the last rows of a block reach into. No query sees it.
        rs = jnp.pad(positions.rs[::-1], ((1, num_steps - block), (0, 0), (0, 0)))
        rs = rs.transpose(1, 2, 0)

    def attend_block(start: Any, queries: Array, is_visible: Array, is_kept: Any) -> Array:
        queries = queries.transpose(1, 2, 0, 3)
        of_contents = queries if positions is None else queries + positions.u[None, :, None]
        scores = multiply("bnth,bnkh->bntk", of_contents, keys, wide)
        if positions is not None:
            first = num_steps - block - start  # of the last query in the block
            near = jax.lax.dynamic_slice_in_dim(rs, first, num_keys + 1, axis=2)
            of_distances = queries + positions.v[None, :, None]
            scores = scores + _shift(multiply("bnth,nhk->bntk", of_distances, near, wide))
        scores = jnp.where(is_visible.swapaxes(0, 1)[:, None], scores * head_dim**-0.5, -jnp.inf)
        weights = jax.nn.softmax(scores)
        if mask is not None:
            drop = mask._replace(is_kept=is_kept.transpose(1, 2, 0, 3))
            weights = dropout.apply(drop, weights)
        mean = multiply("bntk,bnkh->bnth", weights.astype(values.dtype), values, wide)
        return mean.astype(values.dtype).transpose(2, 0, 1, 3)

    rows = (queries, is_visible.swapaxes(0, 1), None if mask is None else mask.is_kept)
    if block == num_steps:
        return attend_block(0, *rows)
    starts = jnp.arange(0, num_steps, block)
    blocks = jax.tree.map(lambda a: a.reshape(-1, block, *a.shape[1:]), rows)
    remade = jax.checkpoint(attend_block)  # the backward pass makes the scores once more
    attended = jax.lax.map(lambda xs: remade(xs[0], *xs[1]), (starts, blocks))
    return attended.reshape(queries.shape)


def _block_length(num_steps: Size, scores_of_step: Size) -> Size:
    """The largest divisor of T that `BLOCK_SCORES` allows; T itself in a program of any size."""
    if not (isinstance(num_steps, int) and isinstance(scores_of_step, int)):
        return num_steps
    fits = (n for n in range(num_steps, 0, -1) if num_steps % n == 0)
    return next((n for n in fits if n * scores_of_step <= BLOCK_SCORES), 1)


def _shift(by_distance: Float[Array, "B N T W"]) -> Float[Array, "B N T K"]:
    """Moves row i to the left by T - i, from W = K + 1 columns to K; junk follows a row's end.

    In row-major order that is one offset for all rows, in rows one column shorter.
    """
    *batch, num_steps, width = by_distance.shape
    flat = by_distance.reshape(*batch, -1)[..., num_steps:]
    return flat.reshape(*batch, num_steps, width - 1)
