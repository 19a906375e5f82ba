"""Unrolls a stack of cells, with dropout on weights, states, and between the layers."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from awd_jax.core import masks as dropout
from awd_jax.core.recurrence import Cell, Length, Params, State


class Features(NamedTuple):
    """The outputs of the last layer, or the sum of those of all layers."""

    raw_hs: Float[Array, "T B D"]  # before its dropout: for TAR and the cache
    dropped_hs: Float[Array, "T B D"]  # after it: for AR and the softmax


def unroll_stack(
    cells: Sequence[Cell],
    layers: Sequence[Params],
    carry: Sequence[State],
    xs: Float[Array, "T B D"],
    masks: dropout.Masks,
    length: Length | None = None,
    sum_outputs: bool = False,
) -> tuple[Features, tuple[State, ...]]:
    """Runs a stack of layers; returns the features and the state of every layer.

    Args:
      cells: one per layer; the first one reads `xs`.
      layers: the parameters of each layer.
      carry: the state of each layer before the first step.
      xs: embedded tokens.
      masks: of this window; `masks.no_masks(len(layers))` for evaluation.
      length: number of real steps, one for all sequences or one for each; None for all T.
      sum_outputs: the features are the sum of the outputs of all layers, which must be equally
        wide, each as it is before dropout; False: the outputs of the last layer.
    """
    length = jnp.asarray(xs.shape[0]) if length is None else length  # T may be symbolic
    outputs, new_carry = [], []
    inputs = dropout.apply(masks.input, xs)
    for cell, params, state, drawn in zip(cells, layers, carry, masks.layers, strict=True):
        params = dropout.drop_weights(drawn.weights, params)
        raw_hs, state = cell.unroll(params, state, inputs, length, drawn.state)
        inputs = dropout.apply(drawn.after, raw_hs)
        outputs.append(raw_hs)
        new_carry.append(state)
    raw_hs = functools.reduce(jnp.add, outputs) if sum_outputs else outputs[-1]
    dropped_hs = dropout.apply(masks.layers[-1].after, raw_hs)
    return Features(raw_hs, dropped_hs), tuple(new_carry)
