"""A stack of cells that reads a source."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from awd_jax.core import masks as dropout
from awd_jax.core.bidirectional import reverse
from awd_jax.core.recurrence import Cell, Params, State
from awd_jax.core.unroll import unroll_stack


class Encoded(NamedTuple):
    """A source as the top layer puts it out."""

    hs: Float[Array, "S B M"]  # in the order of the source; undefined at padding
    summary: Float[Array, "B M"]  # the last output of each direction
    states: tuple[State, ...]  # of every layer, after the last token


def encode(
    cells: Sequence[Cell],
    layers: Sequence[Params],
    states: Sequence[State],
    xs: Float[Array, "S B D"],
    length: Int[Array, "B"],
    masks: dropout.Masks,
    backwards: bool = False,
) -> Encoded:
    """Reads sources of these lengths, of one token at least; padding changes nothing.

    Args:
      cells: one per layer.
      layers: the parameters of each layer.
      states: the state of each layer before the first step.
      xs: embedded tokens.
      length: of each source.
      masks: of this batch.
      backwards: start at the last token of each source (Sutskever et al. 2014, section 3.3).
    """
    found, states = unroll_stack(
        cells, layers, states, reverse(xs, length) if backwards else xs, masks, length
    )
    hs = found.raw_hs
    summary = jnp.take_along_axis(hs, length[None, :, None] - 1, axis=0)[0]
    if not cells[-1].is_causal:  # its second half has read the whole source at the first step
        half = hs.shape[-1] // 2
        summary = jnp.concatenate([summary[:, :half], hs[0, :, half:]], axis=-1)
    return Encoded(reverse(hs, length) if backwards else hs, summary, states)
