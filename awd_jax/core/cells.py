"""The recurrent cells: the equations of all but the LSTM, and the table of their names."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from awd_jax.core.backends import Backend, gated_cell, gated_unroll
from awd_jax.core.gated import Equations, GatedParams, Gates, inputs_part
from awd_jax.core.lstm import lstm
from awd_jax.core.mogrifier import mogrifier
from awd_jax.core.ntm import ntm
from awd_jax.core.parts import make_part
from awd_jax.core.product import affine
from awd_jax.core.qrnn import qrnn
from awd_jax.core.recurrence import Cell, by_scan


class HState(NamedTuple):
    """The state of a cell whose only memory is its output."""

    h: Float[Array, "*T B H"]


def init_h_state(
    batch_size: int, input_dim: int, hidden_dim: int, dtype: DTypeLike | None = None
) -> HState:
    """Returns the state before the first step: zeros [B, H]."""
    del input_dim, dtype  # h is the only memory: rounding it at each step would lose small changes
    return HState(jnp.zeros((batch_size, hidden_dim)))


# ---- GRU: Cho et al. 2014; the reset gate acts after the product, as in torch and cuDNN ----


def _gru_activate(sums: Gates, apart: Gates) -> Gates:
    r, z, n = sums
    (n_from_h,) = apart
    r = jax.nn.sigmoid(r)
    return r, jax.nn.sigmoid(z), jnp.tanh(n + r * n_from_h)


def _gru_update(state: HState, gates: Gates) -> HState:
    _, z, n = gates
    return HState((1 - z) * n + z * state.h)


def _gru_pull_back(
    state: HState, gates: Gates, apart: Gates, d_next: HState
) -> tuple[Gates, Gates, HState]:
    r, z, n = gates
    (n_from_h,) = apart
    d_n = d_next.h * (1 - z) * (1 - n**2)
    d_sums = (d_n * n_from_h * r * (1 - r), d_next.h * (state.h - n) * z * (1 - z), d_n)
    return d_sums, (d_n * r,), HState(d_next.h * z)


GRU = Equations(3, 1, _gru_activate, _gru_update, _gru_pull_back)  # r, z, n


# ---- tanh RNN: Elman 1990 ----


def _rnn_activate(sums: Gates, apart: Gates) -> Gates:
    return (jnp.tanh(sums[0]),)


def _rnn_update(state: HState, gates: Gates) -> HState:
    return HState(gates[0])


def _rnn_pull_back(
    state: HState, gates: Gates, apart: Gates, d_next: HState
) -> tuple[Gates, Gates, HState]:
    (h,) = gates
    return (d_next.h * (1 - h**2),), (), HState(jnp.zeros_like(h))


RNN = Equations(1, 0, _rnn_activate, _rnn_update, _rnn_pull_back)


# ---- the cells ----


def gru(backend: Backend = "fast") -> Cell:
    """Returns the GRU as torch and cuDNN define it.

        r, z = sigmoid(x @ w_x + b_x + h @ w_h + b_h)
        n = tanh(x @ w_x + b_x + r * (h @ w_h + b_h))
        h' = (1 - z) * n + z * h

    Its gates are stored in the order r, z, n.
    """
    return gated_cell(GRU, init_h_state, gated_unroll(GRU, backend))


def rnn(backend: Backend = "fast") -> Cell:
    """Returns the tanh RNN: h' = tanh(x @ w_x + b_x + h @ w_h + b_h)."""
    return gated_cell(RNN, init_h_state, gated_unroll(RNN, backend))


def cho_gru(backend: Backend = "auto") -> Cell:
    """Returns the GRU of Cho et al. (2014), whose reset gate acts before the product.

        n = tanh(x @ w_x + b_x + (r * h) @ w_h + b_h)

    Everything else is as in `gru`. Each step takes two products in sequence, which only `scan`
    supports; `auto` means it.

    Raises:
      ValueError: another backend.
    """
    if backend not in ("auto", "scan"):
        raise ValueError(f"backend {backend}: cho_gru has scan only")

    def step(
        params: GatedParams, state: HState, h: Float[Array, "B H"], from_input: Array
    ) -> HState:
        hidden_dim = h.shape[-1]
        from_rz, from_n = jnp.split(from_input, [2 * hidden_dim], axis=-1)
        w_rz, w_n = jnp.split(params.w_h, [2 * hidden_dim], axis=-1)
        b_rz, b_n = jnp.split(params.b_h, [2 * hidden_dim])
        r, z = jnp.split(jax.nn.sigmoid(from_rz + affine(h, w_rz, b_rz)), 2, axis=-1)
        n = jnp.tanh(from_n + affine((r * h.astype(r.dtype)).astype(h.dtype), w_n, b_n))
        return HState((1 - z) * n + z * state.h)

    return gated_cell(GRU, init_h_state, by_scan(inputs_part, step))


CELLS: dict[str, Callable[..., Cell]] = {
    "lstm": lstm,
    "gru": gru,
    "cho_gru": cho_gru,
    "rnn": rnn,
    "qrnn": qrnn,
    "mogrifier": mogrifier,
    "ntm": ntm,
}


def make_cells(fields: Any, num_layers: int, **instead: Any) -> tuple[Cell, ...]:
    """Makes the cells of a stack, each option from `instead` or else from fields of a model.

    Only the first layer reads `filter_width` inputs at a time.
    """
    first = make_part(CELLS, fields.cell, fields, **instead)
    other = make_part(CELLS, fields.cell, fields, **instead, filter_width=1)
    return (first, *(other,) * (num_layers - 1))
