"""Dynamic evaluation: the parameters follow the text while it is being scored.

Krause, Kahembwe, Murray and Renals (2018, arXiv 1709.07432), the rule "RMS with a
decay". On the training split, without dropout,

    MS = sqrt(mean over windows of g^2),    g the gradient of a window's mean loss.

On the text to score, each segment is scored first and then learnt from:

    p += lamb R (p0 - p) - learning_rate g / (MS + eps)
    R = min(MS / (mean over tensors of each tensor's mean MS), 1 / lamb)

Losses come from a `loss_fn(params, carry, window) -> (loss, (carry, scores))`, whose
carry is whatever goes from window to window; the gradient does not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

LossFn = Callable[[optax.Params, Any, Any], tuple[Float[Array, ""], tuple[Any, Any]]]


class SquaresState(NamedTuple):
    """What goes from window to window on the training split."""

    squares: optax.Params  # sum of g^2, like the parameters
    carry: Any


class GradientScale(NamedTuple):
    """How large the gradient of each parameter usually is."""

    ms: optax.Params  # MS, like the parameters
    mean: Float[Array, ""]  # over tensors, of each tensor's mean MS


class DynamicRates(NamedTuple):
    """The three numbers of the update."""

    learning_rate: Float[Array, ""] | float  # of g / (MS + eps)
    lamb: Float[Array, ""] | float  # of the decay back to the trained parameters
    eps: Float[Array, ""] | float  # joins MS, in units of a gradient


class DynamicState(NamedTuple):
    """What goes from segment to segment."""

    params: optax.Params
    carry: Any


def sum_squares(
    loss_fn: LossFn, params: optax.Params, state: SquaresState, windows: Any
) -> SquaresState:
    """Adds g^2 of each window; a window of padding alone, whose gradient is 0, adds nothing.

    Args:
      loss_fn: see above; its scores are not used.
      params: the trained parameters.
      state: so far.
      windows: arrays with a leading axis of windows.
    """

    def step(state: SquaresState, window: Any) -> tuple[SquaresState, None]:
        grads, (carry, _) = jax.grad(loss_fn, has_aux=True)(params, state.carry, window)
        squares = jax.tree.map(lambda s, g: s + g**2, state.squares, grads)
        return SquaresState(squares, carry), None

    return jax.lax.scan(step, state, windows)[0]


def gradient_scale(squares: optax.Params, num_windows: int) -> GradientScale:
    """MS and its mean from the sum of g^2 over so many windows."""
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
    """The parameters after one segment, see above.

    Args:
      params: before it.
      grads: of its mean loss.
      trained: p0, which the decay leads back to.
      scale: from `gradient_scale`.
      rates: of the update.
    """

    def move(p: Array, g: Array, p0: Array, ms: Array) -> Array:
        decay = jnp.minimum(rates.lamb * ms / scale.mean, 1.0)  # lamb R, for lamb = 0 too
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
    """Scores each segment, then learns from it; returns the scores of all segments.

    Segments of padding alone may only be at the end: they are not learnt from,
    but the decay goes on.

    Args:
      loss_fn: see above.
      state: the parameters so far, at first a copy of `trained`, and the carry.
      segments: arrays with a leading axis of segments.
      trained: p0.
      scale: from `gradient_scale` on the training split.
      rates: of the update.
    """

    def step(state: DynamicState, segment: Any) -> tuple[DynamicState, Any]:
        grads, (carry, scores) = jax.grad(loss_fn, has_aux=True)(state.params, state.carry, segment)
        params = dynamic_update(state.params, grads, trained, scale, rates)
        return DynamicState(params, carry), scores

    return jax.lax.scan(step, state, segments)
