"""The cells that the contract tests are held over, each with its equations in numpy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from awd_jax.core.cells import CELLS
from awd_jax.core.recurrence import Cell, residual

D, H = 5, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(params, state, x, mask):
    gates = x @ params.w_x + params.b_x + (mask * state.h) @ params.w_h + params.b_h
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * state.c + sigmoid(i) * np.tanh(g)
    return state._replace(h=sigmoid(o) * np.tanh(c), c=c)


def gru_step(params, state, x, mask):
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b_x, 3, axis=-1)
    h_r, h_z, h_n = np.split((mask * state.h) @ params.w_h + params.b_h, 3, axis=-1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return state._replace(h=(1 - z) * n + z * state.h)


def cho_gru_step(params, state, x, mask):
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b_x, 3, axis=-1)
    w_r, w_z, w_n = np.split(params.w_h, 3, axis=-1)
    b_r, b_z, b_n = np.split(params.b_h, 3)
    h = mask * state.h
    r, z = sigmoid(x_r + h @ w_r + b_r), sigmoid(x_z + h @ w_z + b_z)
    n = np.tanh(x_n + (r * h) @ w_n + b_n)
    return state._replace(h=(1 - z) * n + z * state.h)


def rnn_step(params, state, x, mask):
    sums = x @ params.w_x + params.b_x + (mask * state.h) @ params.w_h + params.b_h
    return state._replace(h=np.tanh(sums))


class Row(NamedTuple):
    """A cell, and what it computes."""

    cell: Cell
    step: Callable[..., Any]  # (params, state, x [D], mask) to the next state, of one sequence
    scan: Cell | None = None  # the same by jax's own gradient, where the cell has one by hand
    input_dim: int = D
    output: Callable[..., Any] = lambda x, h: h


def rows_of(name, step):
    """By each backend; a cell with one road gives it whatever it is asked for."""
    scan = CELLS[name]("scan")
    if name == "cho_gru":
        return {f"{name}-scan": Row(scan, step)}
    return {f"{name}-scan": Row(scan, step), f"{name}-fast": Row(CELLS[name]("fast"), step, scan)}


ROWS = {
    **rows_of("lstm", lstm_step),
    **rows_of("gru", gru_step),
    **rows_of("cho_gru", cho_gru_step),
    **rows_of("rnn", rnn_step),
    "lstm-residual": Row(
        residual(CELLS["lstm"]("fast")),
        lstm_step,
        input_dim=H,
        output=lambda x, h: x + h,
    ),
    "lstm-forget_bias": Row(CELLS["lstm"]("fast", forget_gate_bias=1.0), lstm_step),
}
