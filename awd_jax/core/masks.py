"""Every dropout mask, drawn from explicit keys before the scan.

Masks are data: the forward pass is a deterministic function of (params, masks,
carry, inputs), and a mask drawn once is by construction the same for every
step of its window. With keep = 1 - rate each mask is Bernoulli(keep) / keep,
so its expectation is 1 and evaluation needs no mask. A rate of 0 draws `None`,
which `apply` leaves out of the graph.

Merity et al. 2018, sections 2 (weight drop) and 4.2-4.3 (locked, embedding).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float, Int, Key


class WeightMasks(NamedTuple):
    """Masks on the weights of one LSTM layer."""

    w_x: Float[Array, "D G"] | None
    w_h: Float[Array, "H G"] | None


class Masks(NamedTuple):
    """All masks of one window. `None` means no dropout at that place."""

    embedding: Float[Array, "V 1"] | None
    input: Float[Array, "1 B D"] | None
    hidden: tuple[Float[Array, "1 B H"] | None, ...]  # between the layers
    output: Float[Array, "1 B H"] | None
    weight: tuple[WeightMasks, ...]  # one for each layer


def no_masks(num_layers: int) -> Masks:
    """The masks of evaluation: none anywhere."""
    return Masks(
        embedding=None,
        input=None,
        hidden=(None,) * (num_layers - 1),
        output=None,
        weight=(WeightMasks(None, None),) * num_layers,
    )


def apply(mask: Float[Array, "..."] | None, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`mask * x`, or `x` itself where there is no mask."""
    return x if mask is None else (mask * x.astype(mask.dtype)).astype(x.dtype)


def sample_dropout(
    key: Key[Array, ""], shape: Sequence[int], rate: float
) -> Float[Array, "..."] | None:
    """Bernoulli(1 - rate) / (1 - rate), independent in every entry.

    Raises:
      ValueError: the rate is outside [0, 1).
    """
    return None if _is_off(rate) else _draw(key, shape, rate)


def _is_off(rate: float) -> bool:
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate {rate}: must lie in [0, 1)")
    return rate == 0


def _draw(key: Key[Array, ""], shape: Sequence[int], rate: float) -> Float[Array, "..."]:
    """Distributed as `jax.random.bernoulli` / keep, from half as many hashes.

    A hash of Threefry is two words. jax joins them to one, so that the parts of a sharded
    array can be drawn apart, which no mask needs. Whatever the key's kind, it is Threefry.
    """
    keep = 1.0 - rate
    counts = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    words = threefry_2x32(jax.random.bits(key, (2,), jnp.uint32), counts)
    uniform = (words >> 8).astype(jnp.float32) * 2**-24
    return (uniform.reshape(shape) < keep).astype(jnp.float32) / keep


def sample_weight_drop(
    key: Key[Array, ""], input_dim: int, hidden_dim: int, rate: float, input_rate: float = 0.0
) -> WeightMasks:
    """DropConnect: single weights of one layer, the same for all T and all B.

    Args:
      key: one key for the layer.
      input_dim: D.
      hidden_dim: H.
      rate: drop probability of the recurrent weights `w_h`.
      input_rate: drop probability of the input weights `w_x`; the paper drops none.
    """
    key_h, key_x = jax.random.split(key)
    return WeightMasks(
        w_x=sample_dropout(key_x, (input_dim, 4 * hidden_dim), input_rate),
        w_h=sample_dropout(key_h, (hidden_dim, 4 * hidden_dim), rate),
    )


def sample_embedding(
    key: Key[Array, ""], vocab_size: int, rate: float
) -> Float[Array, "V 1"] | None:
    """Drops word types: whole rows of the embedding (Gal and Ghahramani 2016)."""
    return sample_dropout(key, (vocab_size, 1), rate)


def sample_locked(
    key: Key[Array, ""], sequence_ids: Int[Array, "B"], dim: int, rate: float
) -> Float[Array, "1 B dim"] | None:
    """Variational dropout: the same features dropped at every step of a sequence.

    Each sequence draws from its own key, `fold_in(key, index in the global
    batch)`, so that any split of the batch over devices draws the same masks.
    """
    if _is_off(rate):
        return None
    return jax.vmap(lambda i: _draw(jax.random.fold_in(key, i), (dim,), rate))(sequence_ids)[None]
