"""Parameters, state and one step of each cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


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

    h: Float[Array, "*T B H"]
    c: Float[Array, "*T B H"]


def init_lstm(key: Key[Array, ""], input_dim: int, hidden_dim: int) -> LSTMParams:
    """Draws all four arrays from U(-1/sqrt(H), 1/sqrt(H)), as torch does."""
    bound = hidden_dim**-0.5
    gates_dim = 4 * hidden_dim
    shapes = LSTMParams((input_dim, gates_dim), (hidden_dim, gates_dim), (gates_dim,), (gates_dim,))
    return LSTMParams(
        *(
            jax.random.uniform(k, shape, minval=-bound, maxval=bound)
            for k, shape in zip(jax.random.split(key, 4), shapes, strict=True)
        )
    )


def init_lstm_state(batch_size: int, hidden_dim: int) -> LSTMState:
    """The state before the first step: zeros of shape [B, H]."""
    shape = (batch_size, hidden_dim)
    return LSTMState(h=jnp.zeros(shape), c=jnp.zeros(shape))


def lstm_inputs(params: LSTMParams, xs: Float[Array, "*T B D"]) -> Float[Array, "*T B G"]:
    """What the inputs add to the gates: needs no state, so all T at once."""
    from_input = xs @ params.w_x
    return from_input + jnp.broadcast_to(params.b_x + params.b_h, from_input.shape)


def lstm_step(
    w_h: Float[Array, "H G"], state: LSTMState, from_input: Float[Array, "B G"]
) -> LSTMState:
    """One step of the LSTM of Hochreiter and Schmidhuber with a forget gate.

    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(c')

    Args:
      w_h: recurrent weights, weight-dropped or not.
      state: h and c of the step before.
      from_input: `lstm_inputs` of this step.
    """
    i, f, g, o = jnp.split(from_input + state.h @ w_h, 4, axis=-1)
    c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return LSTMState(h=h, c=c)
