"""The recurrent cells: the state and equations of each, and the table of their names."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from awd_jax.core.cudnn import cudnn_lstm
from awd_jax.core.fast import fast_gated
from awd_jax.core.gated import Equations, GatedParams, Gates, init_gated, inputs_part, scan_gated
from awd_jax.core.product import affine
from awd_jax.core.recurrence import Cell, Length, Unroll, by_scan

# How a layer is unrolled over time. All backends compute the same: `scan` is the definition,
# differentiated by jax; `fast` has a hand-written backward pass; `cudnn` is one call of the GPU
# library. `auto` is cudnn for a float32 LSTM without state mask on a GPU, else fast if the cell
# has it, else scan.
Backend = Literal["auto", "scan", "fast", "cudnn"]


class LSTMState(NamedTuple):
    """The state of an LSTM."""

    h: Float[Array, "*T B H"]  # in the dtype of the products that read it
    c: Float[Array, "*T B H"]  # a sum over all steps: at least float32


class HState(NamedTuple):
    """The state of a cell whose only memory is its output."""

    h: Float[Array, "*T B H"]


def init_lstm_state(
    batch_size: int, input_dim: int, hidden_dim: int, dtype: DTypeLike | None = None
) -> LSTMState:
    """Returns the state before the first step: zeros [B, H], h in this dtype."""
    del input_dim
    shape = (batch_size, hidden_dim)
    return LSTMState(h=jnp.zeros(shape, dtype), c=jnp.zeros(shape))


def init_h_state(
    batch_size: int, input_dim: int, hidden_dim: int, dtype: DTypeLike | None = None
) -> HState:
    """Returns the state before the first step: zeros [B, H]."""
    del input_dim, dtype  # h is the only memory: rounding it at each step would lose small changes
    return HState(jnp.zeros((batch_size, hidden_dim)))


# ---- LSTM: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000 ----


def _lstm_activate(sums: Gates, apart: Gates) -> Gates:
    i, f, g, o = sums
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _lstm_update(state: LSTMState, gates: Gates) -> LSTMState:
    i, f, g, o = gates
    c = f * state.c + i * g
    return LSTMState(h=o * jnp.tanh(c), c=c)


def _lstm_pull_back(
    state: LSTMState, gates: Gates, apart: Gates, d_next: LSTMState
) -> tuple[Gates, Gates, LSTMState]:
    i, f, g, o = gates
    tanh_c = jnp.tanh(f * state.c + i * g)
    d_c = d_next.c + d_next.h * o * (1 - tanh_c**2)
    d_sums = (
        d_c * g * i * (1 - i),
        d_c * state.c * f * (1 - f),
        d_c * i * (1 - g**2),
        d_next.h * tanh_c * o * (1 - o),
    )
    return d_sums, (), LSTMState(h=jnp.zeros_like(d_c), c=d_c * f)


LSTM = Equations(4, 0, _lstm_activate, _lstm_update, _lstm_pull_back)  # i, f, g, o


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


def lstm(backend: Backend = "fast", forget_gate_bias: float = 0.0) -> Cell:
    """Returns the LSTM; its gates are stored in the order i, f, g, o.

    i, f, o = sigmoid(...),  g = tanh(...)  of  x @ w_x + b_x + h @ w_h + b_h
    c' = f * c + i * g,  h' = o * tanh(c')

    Args:
      backend: how it is unrolled over time.
      forget_gate_bias: added to the initial bias of the forget gate, so that it starts by
        remembering; Jozefowicz, Zaremba and Sutskever (2015, section 2.4) recommend 1.
    """
    unrolls: dict[str, Unroll] = {"cudnn": cudnn_lstm, "auto": _auto_lstm}
    unroll = unrolls[backend] if backend in unrolls else _gated_unroll(LSTM, backend)
    cell = _gated_cell(LSTM, init_lstm_state, unroll)

    def init(key: Key[Array, ""], input_dim: int, hidden_dim: int) -> GatedParams:
        params = cell.init(key, input_dim, hidden_dim)
        b_x = params.b_x.at[hidden_dim : 2 * hidden_dim].add(forget_gate_bias)
        return params._replace(b_x=b_x)

    return cell._replace(init=init) if forget_gate_bias else cell


def gru(backend: Backend = "fast") -> Cell:
    """Returns the GRU as torch and cuDNN define it; its gates are stored in the order r, z, n.

    r, z = sigmoid(x @ w_x + b_x + h @ w_h + b_h)
    n = tanh(x @ w_x + b_x + r * (h @ w_h + b_h))
    h' = (1 - z) * n + z * h
    """
    return _gated_cell(GRU, init_h_state, _gated_unroll(GRU, backend))


def rnn(backend: Backend = "fast") -> Cell:
    """Returns the tanh RNN: h' = tanh(x @ w_x + b_x + h @ w_h + b_h)."""
    return _gated_cell(RNN, init_h_state, _gated_unroll(RNN, backend))


def cho_gru(backend: Backend = "auto") -> Cell:
    """Returns the GRU of Cho et al. (2014), whose reset gate acts before the product.

        n = tanh(x @ w_x + b_x + (r * h) @ w_h + b_h)

    Everything else is as in `gru`. Each step takes two products in sequence, which only `scan`
    supports; `auto` means it.

    Raises:
      ValueError: backend is fast or cudnn.
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

    return _gated_cell(GRU, init_h_state, by_scan(inputs_part, step))


CELLS: dict[str, Callable[..., Cell]] = {
    "lstm": lstm,
    "gru": gru,
    "cho_gru": cho_gru,
    "rnn": rnn,
}


def _gated_cell(equations: Equations, initial_state: Callable, unroll: Unroll) -> Cell:
    init = functools.partial(init_gated, num_gates=equations.num_gates)
    return Cell(init, initial_state, unroll)


def _gated_unroll(equations: Equations, backend: Backend) -> Unroll:
    if backend == "cudnn":
        raise ValueError("backend cudnn: only the LSTM has it; use fast")
    return scan_gated(equations) if backend == "scan" else fast_gated(equations)


def _auto_lstm(
    params: GatedParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Length,
    state_mask: Float[Array, "B H"] | None = None,
) -> tuple[Float[Array, "T B H"], LSTMState]:
    # cuDNN supports float32 only, and no mask inside its loop.
    on_gpu = jax.default_backend() == "gpu" and xs.dtype == jnp.float32 and state_mask is None
    unroll: Unroll = cudnn_lstm if on_gpu else fast_gated(LSTM)
    return unroll(params, state, xs, length, state_mask)
