"""Non-monotonically triggered averaging of SGD's iterates, as an optax transform.

Merity et al. 2018, Algorithm 1. After a validation loss v, averaging starts, for the rest of
the run, iff

    len(history) > n and v > min(history[:-n]),    then v joins the history.

From then on `average` is the running mean of the iterates, each taken after its update.
Training continues from the raw iterates; evaluate and save `averaged_params`.

    optimizer = optax.chain(optax.sgd(30.0), nt_asgd(nonmono=5))  # last in the chain
    ...
    opt_state = observe(opt_state, valid_loss)            # after each validation
    params_for_evaluation = averaged_params(opt_state, params)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


class NTASGDState(NamedTuple):
    """State of `nt_asgd`.

    The last n losses and the minimum of all older ones stand for the whole history.
    """

    recent_losses: Float[Array, "n"]  # oldest first; inf until there are n
    older_min: Float[Array, ""]  # min(history[:-n]); inf if that is empty
    triggered: Bool[Array, ""]
    num_averaged: Int[Array, ""]  # iterates in the mean
    average: optax.Params  # the mean, shaped like the parameters


def nt_asgd(nonmono: int = 5, from_start: bool = False) -> optax.GradientTransformationExtraArgs:
    """Averages the iterates once `observe` has seen no progress for `nonmono` losses.

    It does not change the updates. It must come last in a chain, as it averages
    params + updates.

    Args:
      nonmono: n, how many of the latest losses the test ignores. With n = 5 and
        one loss per epoch, averaging starts after epoch 7 at the earliest.
      from_start: average from the first update on, as finetuning does; the test
        then tells when to stop, see `has_triggered`.

    Raises:
      ValueError: nonmono is negative. `update` raises it if params are missing.
    """
    if nonmono < 0:
        raise ValueError(f"nonmono {nonmono}: must be 0 or more")

    def init(params: optax.Params) -> NTASGDState:
        return NTASGDState(
            recent_losses=jnp.full((nonmono,), jnp.inf, jnp.float32),
            older_min=jnp.asarray(jnp.inf, jnp.float32),
            triggered=jnp.asarray(False),
            num_averaged=jnp.zeros((), jnp.int32),
            # A copy: a buffer shared by params and state could not be donated with both.
            average=jax.tree.map(lambda p: jnp.array(p, copy=True), params),
        )

    def update(
        updates: optax.Updates,
        state: NTASGDState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, NTASGDState]:
        del extra_args
        if params is None:
            raise ValueError("nt_asgd needs params: call update(updates, state, params)")
        is_on = state.triggered | from_start
        num_averaged = state.num_averaged + is_on.astype(jnp.int32)

        def move(mean: Array, iterate: Array) -> Array:
            k = jnp.maximum(num_averaged, 1).astype(mean.dtype)  # 0 before averaging starts
            return jnp.where(is_on, mean + (iterate - mean) / k, mean)

        average = jax.tree.map(move, state.average, optax.apply_updates(params, updates))
        return updates, state._replace(num_averaged=num_averaged, average=average)

    return optax.GradientTransformationExtraArgs(init, update)


def observe(opt_state: optax.OptState, loss: Float[Array, ""] | float) -> optax.OptState:
    """Returns `opt_state` after a validation loss; finds its `nt_asgd` anywhere in a chain."""
    loss = jnp.asarray(loss, jnp.float32)

    def observe_one(state: NTASGDState) -> NTASGDState:
        history = jnp.append(state.recent_losses, loss)
        return state._replace(
            triggered=state.triggered | (loss > state.older_min),
            older_min=jnp.minimum(state.older_min, history[0]),
            recent_losses=history[1:],
        )

    return jax.tree.map(
        lambda s: observe_one(s) if is_ntasgd(s) else s, opt_state, is_leaf=is_ntasgd
    )


def averaged_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    """Returns the mean of the iterates since the trigger, or `params` if there are none yet.

    Without an `nt_asgd` in `opt_state` it returns `params`.
    """
    state = _find(opt_state)
    if state is None:
        return params
    started = state.num_averaged > 0
    return jax.tree.map(lambda a, p: jnp.where(started, a, p), state.average, params)


def num_averaged(opt_state: optax.OptState) -> int:
    """Returns how many iterates the mean holds; 0 without an `nt_asgd` in `opt_state`."""
    state = _find(opt_state)
    return 0 if state is None else int(state.num_averaged)


def has_triggered(opt_state: optax.OptState) -> bool:
    """Returns whether the test has fired; False without an `nt_asgd` in `opt_state`."""
    state = _find(opt_state)
    return state is not None and bool(state.triggered)


def _find(opt_state: optax.OptState) -> NTASGDState | None:
    leaves = jax.tree.leaves(opt_state, is_leaf=is_ntasgd)
    return next((leaf for leaf in leaves if is_ntasgd(leaf)), None)


def is_ntasgd(node: Any) -> bool:
    """Returns whether a node of an optimizer's state is that of `nt_asgd`."""
    return isinstance(node, NTASGDState)
