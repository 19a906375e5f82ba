"""Dynamic evaluation: the parameters adapt to the text while it is scored.

Krause, Kahembwe, Murray and Renals (2018, arXiv 1709.07432), the rule "RMS with a
decay". On the training split, without dropout,

    MS = sqrt(mean over windows of g^2),    g the gradient of a window's mean loss.

Each segment of the text is scored first and then learned from:

    p += lamb R (p0 - p) - learning_rate g / (MS + eps)
    R = min(MS / (mean over tensors of each tensor's mean MS), 1 / lamb)

The losses come from a `loss_fn(params, carry, window) -> (loss, (carry, scores))`. The carry
passes from window to window; gradients do not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

LossFn = Callable[[optax.Params, Any, Any], tuple[Float[Array, ""], tuple[Any, Any]]]


class SquaresState(NamedTuple):
    """State of `sum_squares`, passed from window to window."""

    squares: optax.Params  # sum of g^2, shaped like the parameters
    carry: Any


class GradientScale(NamedTuple):
    """The usual size of each parameter's gradient."""

    ms: optax.Params  # MS, shaped like the parameters
    mean: Float[Array, ""]  # over tensors, of each tensor's mean MS


class DynamicRates(NamedTuple):
    """The hyperparameters of the update."""

    learning_rate: Float[Array, ""] | float  # factor of g / (MS + eps)
    lamb: Float[Array, ""] | float  # strength of the decay towards the trained parameters
    eps: Float[Array, ""] | float  # added to MS, in units of a gradient


class DynamicState(NamedTuple):
    """State of `score_dynamically`, passed from segment to segment."""

    params: optax.Params
    carry: Any


def sum_squares(
    loss_fn: LossFn, params: optax.Params, state: SquaresState, windows: Any
) -> SquaresState:
    """Adds g^2 of each window to the sums; a window of pure padding adds 0.

    Args:
      loss_fn: see the module; its scores are not used.
      params: the trained parameters.
      state: the sums so far.
      windows: arrays with a leading axis of windows.
    """

    def step(state: SquaresState, window: Any) -> tuple[SquaresState, None]:
        grads, (carry, _) = jax.grad(loss_fn, has_aux=True)(params, state.carry, window)
        squares = jax.tree.map(lambda s, g: s + g**2, state.squares, grads)
        return SquaresState(squares, carry), None

    return jax.lax.scan(step, state, windows)[0]


def gradient_scale(squares: optax.Params, num_windows: int) -> GradientScale:
    """Returns MS and its mean, from the sum of g^2 over `num_windows` windows."""
    ms = jax.tree.map(lambda s: jnp.sqrt(s / num_windows), squares)
    means = jnp.stack([m.mean() for m in jax.tree.leaves(ms)])
    return GradientScale(ms, means.mean())


def dynamic_update(
    params: optax.Params,
    grads: optax.Updates,
    trained: optax.Params,
    scale: GradientScale,
    rates: DynamicRates,
) -> optax.Params:
    """Returns the parameters after one segment, by the equation of the module.

    Args:
      params: the parameters before the segment.
      grads: gradient of its mean loss.
      trained: p0, towards which the parameters decay.
      scale: from `gradient_scale`.
      rates: hyperparameters of the update.
    """

    def move(p: Array, g: Array, p0: Array, ms: Array) -> Array:
        decay = jnp.minimum(rates.lamb * ms / scale.mean, 1.0)  # lamb R, also for lamb = 0
        return p + decay * (p0 - p) - rates.learning_rate * g / (ms + rates.eps)

    return jax.tree.map(move, params, grads, trained, scale.ms)


def score_dynamically(
    loss_fn: LossFn,
    state: DynamicState,
    segments: Any,
    trained: optax.Params,
    scale: GradientScale,
    rates: DynamicRates,
) -> tuple[DynamicState, Any]:
    """Scores each segment, then learns from it; returns the new state and all scores.

    Segments of pure padding may only come at the end: nothing is learned from them, but the decay
    still applies.

    Args:
      loss_fn: see the module.
      state: the parameters so far, at first a copy of `trained`, and the carry.
      segments: arrays with a leading axis of segments.
      trained: p0.
      scale: from `gradient_scale` on the training split.
      rates: hyperparameters of the update.
    """

    def step(state: DynamicState, segment: Any) -> tuple[DynamicState, Any]:
        grads, (carry, scores) = jax.grad(loss_fn, has_aux=True)(state.params, state.carry, segment)
        params = dynamic_update(state.params, grads, trained, scale, rates)
        return DynamicState(params, carry), scores

    return jax.lax.scan(step, state, segments)
