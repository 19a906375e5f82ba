"""The cells that the contract tests are held over, each with its equations in numpy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
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
    h = sigmoid(o) * np.tanh(c)
    return state._replace(h=h, c=c), h


def capped_lstm_step(params, state, x, mask):
    gates = x @ params.w_x + params.b_x + (mask * state.h) @ params.w_h + params.b_h
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * state.c + np.minimum(1 - sigmoid(f), sigmoid(i)) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return state._replace(h=h, c=c), h


def mogrifier_step(params, state, x, mask):
    h = mask * state.h
    for r, (down, up, b) in enumerate(params.rounds):
        if r % 2:
            h = 2 * sigmoid(x @ down @ up + b) * h
        else:
            x = 2 * sigmoid(h @ down @ up + b) * x
    return lstm_step(params.cell, state._replace(h=h), x, 1.0)


def gru_step(params, state, x, mask):
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b_x, 3, axis=-1)
    h_r, h_z, h_n = np.split((mask * state.h) @ params.w_h + params.b_h, 3, axis=-1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    h = (1 - z) * n + z * state.h
    return state._replace(h=h), h


def cho_gru_step(params, state, x, mask):
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b_x, 3, axis=-1)
    w_r, w_z, w_n = np.split(params.w_h, 3, axis=-1)
    b_r, b_z, b_n = np.split(params.b_h, 3)
    h = mask * state.h
    r, z = sigmoid(x_r + h @ w_r + b_r), sigmoid(x_z + h @ w_z + b_z)
    n = np.tanh(x_n + (r * h) @ w_n + b_n)
    h = (1 - z) * n + z * state.h
    return state._replace(h=h), h


def rnn_step(params, state, x, mask):
    sums = x @ params.w_x + params.b_x + (mask * state.h) @ params.w_h + params.b_h
    h = np.tanh(sums)
    return state._replace(h=h), h


def qrnn_step(params, state, x, mask):
    read = x if state.x is None else np.concatenate([state.x, x])
    z, f, o = np.split(read @ params.w + params.b, 3)
    c = sigmoid(f) * state.c + (1 - sigmoid(f)) * np.tanh(z)
    return state._replace(c=c, x=state.x if state.x is None else x), sigmoid(o) * c


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def ntm_step(params, state, x, mask):
    """Of one head that reads and one that writes, row by row of the memory."""
    num_rows, width = state.memory.shape
    controller, h = lstm_step(params.controller, state, x, mask)
    told = np.clip(h @ params.w_heads + params.b_heads, -20, 20)
    addresses, what = np.split(told, [2 * (width + 6)])
    weights = []
    for at, before in zip(np.split(addresses, 2), state.weights, strict=True):
        key, (strength, gate), shift, sharpness = np.split(at, [width, width + 2, width + 5])
        key, gate, shift = np.tanh(key), sigmoid(gate), softmax(shift)
        strength, (sharpness,) = np.log1p(np.exp(strength)), 1 + np.log1p(np.exp(sharpness))
        norms = np.linalg.norm(key) * np.linalg.norm(state.memory, axis=-1)
        cosines = state.memory @ key / (norms + 1e-8)
        mixed = gate * softmax(strength * cosines) + (1 - gate) * before
        moved = [
            sum(shift[s + 1] * mixed[(i - s) % num_rows] for s in (-1, 0, 1))
            for i in range(num_rows)
        ]
        weights.append(np.array(moved) ** sharpness / np.sum(np.array(moved) ** sharpness))
    read, written = weights
    erase, add = sigmoid(what[:width]), np.tanh(what[width:])
    memory = np.stack(
        [row * (1 - w * erase) + w * add for row, w in zip(state.memory, written, strict=True)]
    )
    h = np.concatenate([h, read @ state.memory])
    return state._replace(h=h, c=controller.c, memory=memory, weights=np.stack(weights)), h


def with_weights(state):
    """The same state with weights that are some, as those of a memory are."""
    return state._replace(weights=jax.nn.softmax(state.weights))


class Row(NamedTuple):
    """A cell, and what it computes."""

    cell: Cell
    step: Callable[..., Any]  # (params, state, x [D], mask) to the next (state, h), of one sequence
    scan: Cell | None = None  # the same by `scan`, if it goes another road
    input_dim: int = D
    has_mask: bool = True  # it takes a state mask
    output: Callable[..., Any] = lambda x, h: h
    possible: Callable[..., Any] = lambda state: state  # makes a state from random numbers
    is_wide: bool = False  # it has products in float32 whatever the dtype of the inputs


def rows_of(name, step, **options):
    """By each backend; a cell with one road gives it whatever it is asked for."""
    scan = CELLS[name.split("-")[0]]("scan", **options)
    if name == "cho_gru":
        return {f"{name}-scan": Row(scan, step)}
    fast = CELLS[name.split("-")[0]]("fast", **options)
    return {f"{name}-scan": Row(scan, step), f"{name}-fast": Row(fast, step, scan)}


def rows_of_qrnn(width):
    scan, tree = (CELLS["qrnn"](backend, width) for backend in ("scan", "associative"))
    return {
        f"qrnn-{width}-scan": Row(scan, qrnn_step, has_mask=False),
        f"qrnn-{width}-associative": Row(tree, qrnn_step, scan, has_mask=False),
    }


ROWS = {
    **rows_of("lstm", lstm_step),
    **rows_of("gru", gru_step),
    **rows_of("cho_gru", cho_gru_step),
    **rows_of("rnn", rnn_step),
    **rows_of_qrnn(1),
    **rows_of_qrnn(2),
    "lstm-residual": Row(
        residual(CELLS["lstm"]("fast")),
        lstm_step,
        input_dim=H,
        output=lambda x, h: x + h,
    ),
    "lstm-forget_bias": Row(CELLS["lstm"]("fast", forget_gate_bias=1.0), lstm_step),
    **rows_of("lstm-capped", capped_lstm_step, cap_input_gate=True),
    "mogrifier": Row(CELLS["mogrifier"]("scan", 3, 2), mogrifier_step),
    "ntm": Row(CELLS["ntm"]("scan", 5, 2), ntm_step, possible=with_weights, is_wide=True),
}
