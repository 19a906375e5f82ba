"""The LSTM: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from awd_jax.core.backends import Backend, gated_cell, gated_unroll
from awd_jax.core.cudnn import cudnn_lstm
from awd_jax.core.fast import fast_gated
from awd_jax.core.gated import Equations, GatedParams, Gates
from awd_jax.core.recurrence import Cell, Length, Unroll


class LSTMState(NamedTuple):
    """The state of an LSTM."""

    h: Float[Array, "*T B H"]  # in the dtype of the products that read it
    c: Float[Array, "*T B H"]  # a sum over all steps: at least float32


def init_lstm_state(
    batch_size: int, input_dim: int, hidden_dim: int, dtype: DTypeLike | None = None
) -> LSTMState:
    """Returns the state before the first step: zeros [B, H], h in this dtype."""
    del input_dim
    shape = (batch_size, hidden_dim)
    return LSTMState(h=jnp.zeros(shape, dtype), c=jnp.zeros(shape))


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


def _capped_activate(sums: Gates, apart: Gates) -> Gates:
    i, f, g, o = _lstm_activate(sums, apart)
    return jnp.minimum(1 - f, i), f, g, o


def _capped_pull_back(
    state: LSTMState, gates: Gates, apart: Gates, d_next: LSTMState
) -> tuple[Gates, Gates, LSTMState]:
    (d_i, d_f, d_g, d_o), _, d_state = _lstm_pull_back(state, gates, apart, d_next)
    i, f, _, _ = gates
    # There i is 1 - f, so its gradient belongs to f, with a minus sign: i (1 - i) = f (1 - f).
    d_capped = jnp.where(i >= 1 - f, d_i, 0)
    return (d_i - d_capped, d_f - d_capped, d_g, d_o), (), d_state


CAPPED = LSTM._replace(activate=_capped_activate, pull_back=_capped_pull_back)


def lstm(
    backend: Backend = "fast", forget_gate_bias: float = 0.0, cap_input_gate: bool = False
) -> Cell:
    """Returns the LSTM; its gates are stored in the order i, f, g, o.

        i, f, o = sigmoid(...),  g = tanh(...)  of  x @ w_x + b_x + h @ w_h + b_h
        c' = f * c + i * g,  h' = o * tanh(c')

    Args:
      backend: how it is unrolled over time.
      forget_gate_bias: added to the initial bias of the forget gate, so that it starts by
        remembering; Jozefowicz, Zaremba and Sutskever (2015, section 2.4) recommend 1.
      cap_input_gate: c' = f * c + min(1 - f, i) * g, so that c stays within [-1, 1] (Melis,
        Dyer and Blunsom 2018, arXiv 1707.05589).

    Raises:
      ValueError: backend is cudnn, which has no cap.
    """
    equations = CAPPED if cap_input_gate else LSTM
    unrolls: dict[str, Unroll] = {"cudnn": cudnn_lstm, "auto": _auto_lstm}
    has_own = backend in unrolls and not cap_input_gate
    unroll = unrolls[backend] if has_own else gated_unroll(equations, backend)
    cell = gated_cell(equations, init_lstm_state, unroll)

    def init(key: Key[Array, ""], input_dim: int, hidden_dim: int) -> GatedParams:
        params = cell.init(key, input_dim, hidden_dim)
        b_x = params.b_x.at[hidden_dim : 2 * hidden_dim].add(forget_gate_bias)
        return params._replace(b_x=b_x)

    return cell._replace(init=init) if forget_gate_bias else cell


def _auto_lstm(
    params: GatedParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Length,
    state_mask: Float[Array, "B H"] | None = None,
) -> tuple[Float[Array, "T B H"], LSTMState]:
    fast = fast_gated(LSTM)
    # cuDNN can be traced on a machine with a GPU only. It supports float32, and no mask inside its
    # loop.
    if jax.default_backend() != "gpu" or xs.dtype != jnp.float32 or state_mask is not None:
        return fast(params, state, xs, length, state_mask)
    return jax.lax.platform_dependent(
        *(params, state, xs, jnp.asarray(length)), cuda=cudnn_lstm, default=fast
    )
