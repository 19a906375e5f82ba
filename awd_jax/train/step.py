"""One training step and one evaluation step, as a single replica runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from awd_jax.core import losses
from awd_jax.models.contract import Carry, Model
from awd_jax.run.replicas import AXIS
from awd_jax.train.groups import without_statistics
from awd_jax.train.state import Purpose, Totals, TrainState, make_key

# Only the carry has a device axis; the rest of the state is the same on every device.
STATE_AXES = TrainState._make(0 if name == "carry" else None for name in TrainState._fields)
# Arguments of `Replicas.pmap` for the two steps: in_axes, out_axes, donated arguments.
TRAIN_AXES = ((STATE_AXES, 0, None), STATE_AXES, (0,))
EVAL_AXES = ((None, 0, 0), (0, None), (1,))


class Regularisers(NamedTuple):
    """Factors of the two activation regularisers."""

    alpha: float  # of AR
    beta: float  # of TAR


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    regularisers: Regularisers,
    seed: int,
) -> Callable[..., TrainState]:
    """Returns the training step of one replica on its part of a batch.

    The step knows other replicas by the axis name only, so `jax.vmap` with that name runs it too.
    """

    def train_step(
        state: TrainState, batch: Any, learning_rate: Float[Array, "*groups"]
    ) -> TrainState:
        b = batch.weights.shape[1]
        sequence_ids = jax.lax.axis_index(AXIS) * b + jnp.arange(b)
        # The same key on every replica: masks of sequences differ by `sequence_ids`.
        key = jax.random.fold_in(make_key(seed, Purpose.MASKS), state.step)
        masks = model.sample_masks(key, sequence_ids, batch)
        num_tokens, num_pairs = batch.counts.tokens, jnp.maximum(batch.counts.pairs, 1.0)
        num_targets = batch.counts.targets

        def loss_fn(params: optax.Params) -> tuple[Array, tuple]:
            score = model.score(params, batch, state.carry, masks)
            ar = losses.activation_reg(score.features.dropped_hs, batch.weights) / num_tokens
            tar = losses.temporal_activation_reg(score.features.raw_hs, batch.weights) / num_pairs
            loss = score.nll / num_targets + regularisers.alpha * ar + regularisers.beta * tar
            return loss, (score.carry, (loss, score.nll, ar, tar))

        grads, (carry, parts) = jax.grad(loss_fn, has_aux=True)(state.params)
        # Counts cover the whole batch, so replicas with unequal numbers of tokens sum exactly.
        grads, (loss, nll, ar, tar) = _sum_over_replicas((grads, parts))
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params, learning_rate=learning_rate
        )
        grad_norm = optax.tree.norm(without_statistics(grads))
        # Rounded: weights of classes need not sum to a whole number.
        num_whole = jnp.round(num_targets).astype(jnp.int32)
        totals = Totals(nll, num_whole, jnp.ones((), jnp.int32), ar, tar, grad_norm)
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


def _sum_over_replicas(tree: Any) -> Any:
    """All communication of a step but batch normalisation's; XLA makes one all-reduce of it."""
    # With a single replica, psum would copy every gradient.
    return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.psum(tree, AXIS)


def make_eval_step(model: Model) -> Callable[..., tuple]:
    """Returns the evaluation step of one replica on its part of a batch."""

    def eval_step(params: optax.Params, carry: Carry, batch: Any) -> tuple[Carry, Float[Array, ""]]:
        score = model.score(params, batch, carry)
        return score.carry, jax.lax.psum(score.nll, AXIS)

    return eval_step
