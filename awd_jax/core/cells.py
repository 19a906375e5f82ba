"""Parameters, state and one step of each cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from awd_jax.core.product import product


class LSTMParams(NamedTuple):
    """Weights of one LSTM layer; gates side by side in the order i, f, g, o.

    Two bias vectors, as torch and cuDNN have them: SGD moves their sum twice as
    fast and the clip norm counts both, so one vector would be another recipe.
    """

    w_x: Float[Array, "D G"]
    w_h: Float[Array, "H G"]
    b_x: Float[Array, "G"]
    b_h: Float[Array, "G"]


class LSTMState(NamedTuple):
    """What an LSTM carries from one step to the next."""

    h: Float[Array, "*T B H"]  # of the dtype of the products it goes into
    c: Float[Array, "*T B H"]  # a sum over all steps: never less than float32


class LSTMGates(NamedTuple):
    """The gates after their nonlinearity: sigmoid of i, f and o, tanh of g."""

    i: Float[Array, "*T B H"]
    f: Float[Array, "*T B H"]
    g: Float[Array, "*T B H"]
    o: Float[Array, "*T B H"]


def init_lstm(key: Key[Array, ""], input_dim: int, hidden_dim: int) -> LSTMParams:
    """Draws all four arrays from U(-1/sqrt(H), 1/sqrt(H)), as torch does."""
    bound = hidden_dim**-0.5
    gates_dim = 4 * hidden_dim
    shapes = ((input_dim, gates_dim), (hidden_dim, gates_dim), (gates_dim,), (gates_dim,))
    return LSTMParams(
        *(
            jax.random.uniform(k, shape, minval=-bound, maxval=bound)
            for k, shape in zip(jax.random.split(key, 4), shapes, strict=True)
        )
    )


def init_lstm_state(batch_size: int, hidden_dim: int, dtype: DTypeLike | None = None) -> LSTMState:
    """The state before the first step: zeros of shape [B, H], h of this dtype."""
    shape = (batch_size, hidden_dim)
    return LSTMState(h=jnp.zeros(shape, dtype), c=jnp.zeros(shape))


def lstm_inputs(params: LSTMParams, xs: Float[Array, "*T B D"]) -> Float[Array, "*T B G"]:
    """What the inputs add to the gates: needs no state, so all T at once."""
    from_input = product(xs, params.w_x)
    return from_input + jnp.broadcast_to(params.b_x + params.b_h, from_input.shape)


def lstm_gates(
    w_h: Float[Array, "H G"], h: Float[Array, "B H"], from_input: Float[Array, "B G"]
) -> LSTMGates:
    """The gates of one step from `lstm_inputs` of this step and h of the step before."""
    return activate_gates(*jnp.split(from_input + product(h, w_h), 4, axis=-1))


def activate_gates(i: Array, f: Array, g: Array, o: Array) -> LSTMGates:
    """Their nonlinearities, whatever the layout."""
    return LSTMGates(jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o))


def lstm_update(gates: LSTMGates, state: LSTMState) -> LSTMState:
    """The state after one step from its gates and the state before.

    c' = f * c + i * g
    h' = o * tanh(c')
    """
    i, f, g, o = gates
    c = f * state.c + i * g
    return LSTMState(h=(o * jnp.tanh(c)).astype(state.h.dtype), c=c)


def lstm_step(
    w_h: Float[Array, "H G"], state: LSTMState, from_input: Float[Array, "B G"]
) -> LSTMState:
    """One step of the LSTM of Hochreiter and Schmidhuber (1997) with a forget gate.

    Args:
      w_h: recurrent weights, weight-dropped or not.
      state: h and c of the step before.
      from_input: `lstm_inputs` of this step.
    """
    return lstm_update(lstm_gates(w_h, state.h, from_input), state)
