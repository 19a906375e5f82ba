"""One LSTM layer over time by cuDNN, through `jax.experimental.rnn`."""

import jax.numpy as jnp
from jax.experimental import rnn
from jaxtyping import Array, Float, Int

from awd_jax.core.cells import LSTMParams, LSTMState


def cudnn_lstm(
    params: LSTMParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Int[Array, ""] | int,
) -> tuple[Float[Array, "T B H"], LSTMState]:
    """What `unroll.unroll_lstm` computes, in one call: outputs after `length` are 0.

    cuDNN computes in float32, by TF32 products unless jax's matmul precision is
    "highest". It cannot be traced where there is no GPU, nor mapped by `vmap`.
    """
    batch_size, (input_dim, _) = xs.shape[1], params.w_x.shape
    hidden_dim = len(params.w_h)
    hs, h, c = rnn.lstm(
        jnp.swapaxes(xs, 0, 1).astype(jnp.float32),
        state.h[None].astype(jnp.float32),
        state.c[None],
        pack(params),
        jnp.broadcast_to(jnp.asarray(length, jnp.int32), batch_size),
        input_dim,
        hidden_dim,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    return (
        jnp.swapaxes(hs, 0, 1).astype(xs.dtype),
        LSTMState(h=h[0].astype(state.h.dtype), c=c[0]),
    )


def pack(params: LSTMParams) -> Float[Array, "N"]:
    """The weights of a layer in one vector, as cuDNN wants them: matrices [G, D] first."""
    return jnp.concatenate([params.w_x.T.ravel(), params.w_h.T.ravel(), params.b_x, params.b_h])
