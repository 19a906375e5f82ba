"""The state of a training run, and the keys of its randomness."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from awd_jax.core.ntasgd import is_ntasgd
from awd_jax.models.contract import Carry, Model


class Purpose(enum.IntEnum):
    """What a stream of random numbers is for. Do not change the values: runs depend on them."""

    INIT = 0
    MASKS = 1
    SAMPLES = 2


def make_key(seed: int, purpose: Purpose) -> Key[Array, ""]:
    """Returns the key of one purpose. Steps are folded in, so checkpoints hold no key."""
    return jax.random.fold_in(jax.random.key(seed), int(purpose))


class Totals(NamedTuple):
    """Sums over the windows of the epoch so far."""

    nll: Float[Array, ""]  # nats
    num_tokens: Int[Array, ""]
    num_windows: Int[Array, ""]
    activation_reg: Float[Array, ""]  # sum of each window's mean, without alpha
    temporal_activation_reg: Float[Array, ""]  # likewise, without beta
    grad_norm: Float[Array, ""]  # global norm, before clipping


def zero_totals() -> Totals:
    """Returns the totals before the first window of an epoch."""
    return Totals(
        nll=jnp.zeros(()),
        num_tokens=jnp.zeros((), jnp.int32),
        num_windows=jnp.zeros((), jnp.int32),
        activation_reg=jnp.zeros(()),
        temporal_activation_reg=jnp.zeros(()),
        grad_norm=jnp.zeros(()),
    )


def means(totals: Totals) -> dict[str, float]:
    """Returns means per token or per window, by their names in the metrics log."""
    totals = jax.device_get(totals)
    return {
        "train_nll": float(totals.nll / totals.num_tokens),
        "activation_reg": float(totals.activation_reg / totals.num_windows),
        "temporal_activation_reg": float(totals.temporal_activation_reg / totals.num_windows),
        "grad_norm": float(totals.grad_norm / totals.num_windows),
    }


class TrainState(NamedTuple):
    """Everything that a training step reads and writes.

    Every leaf of the carry has the batch axis first: all B sequences in a checkpoint, those of one
    replica in its step. The rest is the same on every device.
    """

    step: Int[Array, ""]  # windows trained on since the start of the run
    params: optax.Params
    opt_state: optax.OptState
    carry: Carry
    totals: Totals
    first_bad_step: Int[Array, ""]  # first step with a non-finite loss or gradient; -1 if none


def init_state(
    model: Model, optimizer: optax.GradientTransformation, seed: int, batch_size: int
) -> TrainState:
    """Returns the state before the first step."""
    params = model.init_params(make_key(seed, Purpose.INIT))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        carry=model.initial_carry(batch_size),
        totals=zero_totals(),
        first_bad_step=jnp.full((), -1, jnp.int32),
    )


def where_evaluated(state: TrainState) -> str:
    """Returns the path in the state of the parameters that `averaged_params` returns.

    With it, a reader of a checkpoint needs to know nothing about its optimizer.
    """
    for path, node in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_ntasgd):
        if is_ntasgd(node) and node.num_averaged > 0:
            return jax.tree_util.keystr(path) + ".average"
    return ".params"
