"""A stack of cells: its dropout masks, and its unrolling over time."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from awd_jax.core import masks as dropout
from awd_jax.core.recurrence import Cell, Length, Params, State

Dims = Sequence[tuple[int, int]]  # (D, H) of each layer


class Features(NamedTuple):
    """The outputs of the last layer, or the sum of those of all layers."""

    raw_hs: Float[Array, "T B D"]  # before its dropout: for TAR and the cache
    dropped_hs: Float[Array, "T B D"]  # after it: for AR and the softmax


class StackRates(NamedTuple):
    """Drop probabilities of a stack; see `LayerMasks`."""

    after: tuple[float, ...]  # of each layer
    state: float
    weights: float
    input_weights: float
    is_locked: bool  # one mask for all steps


def stack_rates(fields: Any, num_layers: int, last: float) -> StackRates:
    """Returns the rates from the fields of a model; `last` is that after the last layer."""
    return StackRates(
        (*(fields.hidden_dropout_rate,) * (num_layers - 1), last),
        fields.state_dropout_rate,
        fields.weight_drop_rate,
        fields.input_weight_drop_rate,
        fields.dropout_kind == "locked",
    )


class StackKeys(NamedTuple):
    """Keys of the masks of a stack."""

    after: Sequence[Key[Array, ""]]  # of each layer
    state: Key[Array, ""]
    weights: Key[Array, ""]


def sample_stack(
    keys: StackKeys,
    rates: StackRates,
    cells: Sequence[Cell],
    dims: Dims,
    sequence_ids: Int[Array, "B"],
    num_steps: int,
) -> tuple[dropout.LayerMasks, ...]:
    """Draws the masks of each layer of a stack."""
    num_layers = len(cells)
    layers = []
    for cell, (d, h), key_after, rate, key_weights, key_state in zip(
        cells,
        dims,
        keys.after,
        rates.after,
        jax.random.split(keys.weights, num_layers),
        jax.random.split(keys.state, num_layers),
        strict=True,
    ):
        shapes = jax.eval_shape(lambda key, c=cell, d=d, h=h: c.init(key, d, h), keys.weights)
        weights = dropout.sample_weight_drop(
            *(key_weights, shapes, cell.dropped, cell.dropped_inputs),
            *(rates.weights, rates.input_weights),
        )
        width = cell.output_dim(h)
        state = dropout.sample_locked(key_state, sequence_ids, width, rates.state)
        after = dropout.sample_activations(
            key_after, sequence_ids, num_steps, width, rate, rates.is_locked
        )
        layers.append(dropout.LayerMasks(weights, None if state is None else state[0], after))
    return tuple(layers)


def unroll_stack(
    cells: Sequence[Cell],
    layers: Sequence[Params],
    carry: Sequence[State],
    xs: Float[Array, "T B D"],
    masks: dropout.Masks,
    length: Length | None = None,
    sum_outputs: bool = False,
    beside: Float[Array, "T B C"] | None = None,
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
      beside: what every layer reads after its other inputs.
    """
    length = jnp.asarray(xs.shape[0]) if length is None else length  # T may be symbolic
    outputs, new_carry = [], []
    inputs = dropout.apply(masks.input, xs)
    for cell, params, state, drawn in zip(cells, layers, carry, masks.layers, strict=True):
        params = dropout.drop_weights(drawn.weights, params)
        inputs = inputs if beside is None else jnp.concatenate([inputs, beside], axis=-1)
        raw_hs, state = cell.unroll(params, state, inputs, length, drawn.state)
        inputs = dropout.apply(drawn.after, raw_hs)
        outputs.append(raw_hs)
        new_carry.append(state)
    raw_hs = functools.reduce(jnp.add, outputs) if sum_outputs else outputs[-1]
    dropped_hs = dropout.apply(masks.layers[-1].after, raw_hs)
    return Features(raw_hs, dropped_hs), tuple(new_carry)


def unroll_fed(
    cells: Sequence[Cell],
    layers: Sequence[Params],
    carry: Sequence[State],
    fed: Float[Array, "B F"],
    xs: Float[Array, "T B D"],
    masks: dropout.Masks,
    feed: Callable[[Float[Array, "1 B H"]], tuple[Float[Array, "1 B F"], Any]],
) -> tuple[Features, Float[Array, "T B F"], Any, tuple[State, ...]]:
    """Runs a stack whose first layer reads, beside `xs`, what `feed` made of the step before.

    Args:
      cells: one per layer, with a backend that is good for single steps.
      layers: the parameters of each layer.
      carry: the state of each layer before the first step.
      fed: what the first step reads.
      xs: embedded tokens.
      masks: of this window.
      feed: maps the outputs of a step, before dropout, to what the next one reads and anything
        else, whose leaves have the step first.

    Returns:
      The features, all that was fed, anything else of every step, and the states.
    """
    num_steps = xs.shape[0]
    xs = dropout.apply(masks.input, xs)
    layers = [dropout.drop_weights(m.weights, p) for m, p in zip(masks.layers, layers, strict=True)]
    afters = [
        None if m.after is None else jnp.broadcast_to(m.after, (num_steps, *m.after.shape[1:]))
        for m in masks.layers
    ]

    def step(loop: tuple, now: tuple) -> tuple[tuple, tuple]:
        states, fed = loop
        x, after = now
        drawn = tuple(
            m._replace(weights=None, after=None if a is None else a[None])
            for m, a in zip(masks.layers, after, strict=True)
        )
        features, states = unroll_stack(
            cells,
            layers,
            states,
            jnp.concatenate([x, fed], axis=-1)[None],
            masks._replace(input=None, layers=drawn),
        )
        next_fed, other = feed(features.raw_hs)
        found = (features, next_fed, other)
        return (states, next_fed[0]), jax.tree.map(lambda rows: rows[0], found)

    (states, _), found = jax.lax.scan(step, (tuple(carry), fed), (xs, afters))
    return *found, states
