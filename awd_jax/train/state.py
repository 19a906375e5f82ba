"""The state of a training run, and the keys of its randomness."""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from awd_jax.core.cells import LSTMState
from awd_jax.core.ntasgd import NTASGDState
from awd_jax.models.awd_lstm import AWDLSTM


class Purpose(enum.IntEnum):
    """What a stream of random numbers is for. Numbers stay as they are: runs depend on them."""

    INIT = 0
    MASKS = 1
    SAMPLES = 2


def make_key(seed: int, purpose: Purpose) -> Key[Array, ""]:
    """The key of one purpose. Fold a step in where there are many: nothing to checkpoint."""
    return jax.random.fold_in(jax.random.key(seed), int(purpose))


class Totals(NamedTuple):
    """Sums over the windows of the epoch so far."""

    nll: Float[Array, ""]  # nats
    num_tokens: Int[Array, ""]
    num_windows: Int[Array, ""]
    activation_reg: Float[Array, ""]  # without alpha; a mean of each window
    temporal_activation_reg: Float[Array, ""]  # without beta
    grad_norm: Float[Array, ""]  # before clipping


def zero_totals() -> Totals:
    """The totals before the first window of an epoch."""
    return Totals(
        nll=jnp.zeros(()),
        num_tokens=jnp.zeros((), jnp.int32),
        num_windows=jnp.zeros((), jnp.int32),
        activation_reg=jnp.zeros(()),
        temporal_activation_reg=jnp.zeros(()),
        grad_norm=jnp.zeros(()),
    )


def means(totals: Totals) -> dict[str, float]:
    """What the totals say of one token or one window, by the names of the metrics log."""
    totals = jax.device_get(totals)
    return {
        "train_nll": float(totals.nll / totals.num_tokens),
        "activation_reg": float(totals.activation_reg / totals.num_windows),
        "temporal_activation_reg": float(totals.temporal_activation_reg / totals.num_windows),
        "grad_norm": float(totals.grad_norm / totals.num_windows),
    }


class TrainState(NamedTuple):
    """All that a training step reads and writes.

    Every leaf of the carry has the sequences of the batch first: all B of them in a checkpoint,
    those of one replica in its step. The rest is the same on every device.
    """

    step: Int[Array, ""]  # windows trained on since the start of the run
    params: optax.Params
    opt_state: optax.OptState
    carry: tuple[LSTMState, ...]
    totals: Totals
    first_bad_step: Int[Array, ""]  # first step whose loss or gradient was not finite; else -1


def make_model(config: ConfigDict, vocab_size: int) -> AWDLSTM:
    """The model of the config's group `model`."""
    return AWDLSTM(
        vocab_size=vocab_size,
        embed_dim=config.embed_dim,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
        embed_dropout_rate=config.embed_dropout_rate,
        input_dropout_rate=config.input_dropout_rate,
        hidden_dropout_rate=config.hidden_dropout_rate,
        output_dropout_rate=config.output_dropout_rate,
        weight_drop_rate=config.weight_drop_rate,
        input_weight_drop_rate=config.input_weight_drop_rate,
        lstm_backend=config.lstm_backend,
        dtype=jnp.dtype(config.dtype),
    )


def init_state(
    model: AWDLSTM, optimizer: optax.GradientTransformation, seed: int, batch_size: int
) -> TrainState:
    """The state before the first step."""
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
    """The path in the state of the parameters that evaluation uses, as `averaged_params` has them.

    With it whoever reads a checkpoint needs to know nothing of its optimizer.
    """
    for path, node in jax.tree_util.tree_leaves_with_path(state, is_leaf=_is_ntasgd):
        if _is_ntasgd(node) and node.num_averaged > 0:
            return jax.tree_util.keystr(path) + ".average"
    return ".params"


def _is_ntasgd(node: Any) -> bool:
    return isinstance(node, NTASGDState)
