"""One training step and one evaluation step, each as one replica takes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from awd_jax.core import losses
from awd_jax.core.cells import LSTMState
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.run.replicas import AXIS
from awd_jax.train.state import Purpose, Totals, TrainState, make_key

Window = tuple[Array, Array, Array]  # inputs, targets, weights: [T, b] with b = B / replicas

# Only the carry has an axis of devices; the rest of the state is the same on each.
STATE_AXES = TrainState._make(0 if name == "carry" else None for name in TrainState._fields)
# What `Replicas.pmap` is told of the two steps: axes in, axes out, what is donated.
TRAIN_AXES = ((STATE_AXES, 1, None, None), STATE_AXES, (0,))
EVAL_AXES = ((None, 0, 1, None), (0, None), (1,))


class Regularisers(NamedTuple):
    """Factors of the two activation regularisers."""

    alpha: float  # of AR
    beta: float  # of TAR


def make_train_step(
    model: AWDLSTM,
    optimizer: optax.GradientTransformationExtraArgs,
    regularisers: Regularisers,
    seed: int,
) -> Callable[..., TrainState]:
    """Returns what one replica does with its part of one window.

    The step knows of other replicas by the axis name only, so `jax.vmap` with
    that name runs it too.
    """

    def train_step(
        state: TrainState,
        window: Window,
        length: Int[Array, ""],
        learning_rate: Float[Array, ""],
    ) -> TrainState:
        *_, weights = window
        b = weights.shape[1]
        sequence_ids = jax.lax.axis_index(AXIS) * b + jnp.arange(b)
        key = jax.random.fold_in(make_key(seed, Purpose.MASKS), state.step)
        masks = model.sample_masks(key, sequence_ids)

        def loss_fn(params: optax.Params) -> tuple[Array, tuple]:
            nll_sum, output = model.score(params, *window, state.carry, masks, length)
            nll = nll_sum / jnp.sum(weights)
            ar = losses.activation_reg(output.dropped_hs, weights)
            tar = losses.temporal_activation_reg(output.raw_hs, weights)
            loss = nll + regularisers.alpha * ar + regularisers.beta * tar
            return loss, (output.carry, (loss, nll, ar, tar))

        grads, (carry, means) = jax.grad(loss_fn, has_aux=True)(state.params)
        # Every replica has the same number of real tokens: the mean of means is the mean.
        grads, (loss, nll, ar, tar) = _mean_over_replicas((grads, means))
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params, learning_rate=learning_rate
        )
        grad_norm = optax.tree.norm(grads)
        num_tokens = length * b * jax.lax.axis_size(AXIS)
        totals = Totals(
            nll * num_tokens.astype(nll.dtype),
            num_tokens,
            jnp.ones_like(length),
            ar,
            tar,
            grad_norm,
        )
        is_first_bad = (state.first_bad_step < 0) & ~jnp.isfinite(loss + grad_norm)
        return TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            carry=carry,
            totals=jax.tree.map(jnp.add, state.totals, totals),
            first_bad_step=jnp.where(is_first_bad, state.step, state.first_bad_step),
        )

    return train_step


def _mean_over_replicas(tree: Any) -> Any:
    """The one communication of a step: XLA combines it all into one all-reduce."""
    # Of one replica it would be a copy of every gradient.
    return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(tree, AXIS)


def make_eval_step(model: AWDLSTM) -> Callable[..., tuple]:
    """Returns what one replica does with its part of one window of evaluation."""

    def eval_step(
        params: optax.Params, carry: tuple[LSTMState, ...], window: Window, length: Int[Array, ""]
    ) -> tuple[tuple[LSTMState, ...], Float[Array, ""]]:
        nll_sum, output = model.score(params, *window, carry, None, length)
        return output.carry, jax.lax.psum(nll_sum, AXIS)

    return eval_step
