"""Dropout masks, drawn from explicit keys before the forward pass.

Masks are data: the forward pass is a deterministic function of (params, masks,
carry, inputs), and a mask that is drawn once is the same at every step of its
window by construction. With keep = 1 - rate, each mask is Bernoulli(keep) / keep:
its expectation is 1, so evaluation needs no mask. A rate of 0 gives `None`,
which `apply` leaves out of the graph.

Merity et al. 2018, sections 2 (weight drop) and 4.2-4.3 (locked, embedding).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Bool, Float, Int, Key

from awd_jax.core.keys import as_threefry


class LayerMasks(NamedTuple):
    """The masks of one layer of a stack."""

    weights: Any = None  # tree of the parameters, each a mask or None; or None
    state: Float[Array, "B H"] | None = None  # on h, where it enters the recurrent products
    after: Float[Array, "... B H"] | None = None  # on the outputs: [1, B, H] or [T, B, H]


class Masks(NamedTuple):
    """All masks of one window; None means no dropout there."""

    embedding: Float[Array, "V 1"] | None
    input: Float[Array, "... B D"] | None  # [1, B, D] or [T, B, D]
    layers: tuple[LayerMasks, ...]
    head: Any = None  # from the `sample_masks` of the `Head`


class Kept(NamedTuple):
    """A mask in one byte an entry, for those with an entry at every step or pair of steps."""

    is_kept: Bool[Array, "..."]
    scale: Float[Array, ""]  # of what is kept: 1 / keep


def no_masks(num_layers: int) -> Masks:
    """Returns the masks of evaluation: no dropout anywhere."""
    return Masks(embedding=None, input=None, layers=(LayerMasks(),) * num_layers)


def pack(mask: Float[Array, "..."] | None, rate: float) -> Kept | None:
    """Returns the same mask, drawn at this rate, in a quarter of the memory."""
    return None if mask is None else Kept(mask > 0, jnp.float32(1 / (1 - rate)))


def apply(mask: Float[Array, "..."] | Kept | None, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns `mask * x` in the dtype of x, or `x` itself without a mask."""
    if mask is None:
        return x
    factor = mask.scale if isinstance(mask, Kept) else mask
    wider = max(factor.dtype, x.dtype, key=lambda dtype: dtype.itemsize)
    masked = (factor.astype(wider) * x.astype(wider)).astype(x.dtype)
    return jnp.where(mask.is_kept, masked, 0) if isinstance(mask, Kept) else masked


def sample_dropout(
    key: Key[Array, ""], shape: Sequence[int], rate: float
) -> Float[Array, "..."] | None:
    """Draws Bernoulli(1 - rate) / (1 - rate) independently for every entry; None at rate 0.

    Raises:
      ValueError: the rate is outside [0, 1).
    """
    return None if _is_off(rate) else _draw(key, shape, rate)


def _is_off(rate: float) -> bool:
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate {rate}: must lie in [0, 1)")
    return rate == 0


def _draw(key: Key[Array, ""], shape: Sequence[int], rate: float) -> Float[Array, "..."]:
    """Draws from the distribution of `jax.random.bernoulli` / keep, with half as many hashes.

    A Threefry hash yields two words. jax combines them into one, so that the parts of a sharded
    array can be drawn separately, which no mask needs. Threefry is used for every kind of key.
    """
    keep = 1.0 - rate
    counts = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    words = threefry_2x32(jax.random.bits(key, (2,), jnp.uint32), counts)
    uniform = (words >> 8).astype(jnp.float32) * 2**-24
    return (uniform.reshape(shape) < keep).astype(jnp.float32) / keep


def sample_weight_drop(
    key: Key[Array, ""],
    shapes: Any,
    dropped: Sequence[str],
    dropped_inputs: Sequence[str],
    rate: float,
    input_rate: float = 0.0,
) -> Any:
    """Draws DropConnect masks: single weights of one layer, the same for all T and all B.

    Args:
      key: one key for the layer.
      shapes: the layer's parameters, or their shapes: named tuples, nested or not.
      dropped: names of the recurrent weights, which `rate` drops.
      dropped_inputs: names of the input weights, which `input_rate` drops; the paper drops none.

    Returns:
      The same tree, with a mask or None for each parameter.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    names = [path[-1].name for path, _ in leaves]
    masks: list[Array | None] = [None] * len(leaves)
    for group, group_key, group_rate in zip(
        (dropped, dropped_inputs), jax.random.split(key), (rate, input_rate), strict=True
    ):
        indices = [i for i, name in enumerate(names) if name in group]
        # A single matrix uses the key itself, unsplit.
        keys = jax.random.split(group_key, len(indices)) if len(indices) > 1 else [group_key]
        for i, k in zip(indices, keys, strict=False):
            masks[i] = sample_dropout(k, leaves[i][1].shape, group_rate)
    return jax.tree.unflatten(structure, masks)


def drop_weights(masks: Any, params: Any) -> Any:
    """Applies `LayerMasks.weights` to the parameters of a layer."""
    if masks is None:
        return params
    return jax.tree.map(apply, masks, params, is_leaf=lambda mask: mask is None)


def sample_embedding(
    key: Key[Array, ""], vocab_size: int, rate: float
) -> Float[Array, "V 1"] | None:
    """Draws a mask that drops word types: whole rows of the embedding (Gal and Ghahramani 2016)."""
    return sample_dropout(key, (vocab_size, 1), rate)


def apply_rows(
    mask: Float[Array, "V 1"] | None, ids: Int[Array, "*N"], xs: Float[Array, "*N E"]
) -> Float[Array, "*N E"]:
    """Returns vectors of tokens with the mask of the embedding that they are rows of."""
    return xs if mask is None else mask[ids] * xs


def sample_locked(
    key: Key[Array, ""], sequence_ids: Int[Array, "B"], dim: int, rate: float
) -> Float[Array, "1 B dim"] | None:
    """Draws variational dropout: the same features are dropped at every step of a sequence.

    Each sequence draws from its own key, `fold_in(key, index in the global batch)`, so the masks
    do not depend on how the batch is split over devices.
    """
    return sample_elementwise(key, sequence_ids, 1, dim, rate)


def sample_activations(
    key: Key[Array, ""],
    sequence_ids: Int[Array, "B"],
    num_steps: int,
    dim: int,
    rate: float,
    is_locked: bool,
) -> Float[Array, "... B dim"] | None:
    """Draws variational dropout, one mask for all steps, or plain dropout."""
    if is_locked:
        return sample_locked(key, sequence_ids, dim, rate)
    return sample_elementwise(key, sequence_ids, num_steps, dim, rate)


def sample_elementwise(
    key: Key[Array, ""], sequence_ids: Int[Array, "B"], num_steps: int, dim: int, rate: float
) -> Float[Array, "T B dim"] | None:
    """Draws plain dropout: independent at every step and feature; keys as in `sample_locked`."""
    if _is_off(rate):
        return None
    key, shape = as_threefry(key), (num_steps, dim)
    return jax.vmap(lambda i: _draw(jax.random.fold_in(key, i), shape, rate), out_axes=1)(
        sequence_ids
    )
