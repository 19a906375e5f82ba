"""One LSTM layer unrolled by cuDNN, through `jax.experimental.rnn`."""

import jax.numpy as jnp
from jax.experimental import rnn
from jaxtyping import Array, Float

from awd_jax.core.gated import GatedParams
from awd_jax.core.recurrence import Length, State


def cudnn_lstm(
    params: GatedParams,
    state: State,
    xs: Float[Array, "T B D"],
    length: Length,
    state_mask: Float[Array, "B H"] | None = None,
) -> tuple[Float[Array, "T B H"], State]:
    """Unrolls `lstm.lstm` in one cuDNN call; outputs from step `length` on are 0.

    cuDNN computes in float32, with TF32 products unless jax's matmul precision is "highest". It
    cannot be traced without a GPU, nor mapped by `vmap`.

    Raises:
      ValueError: a state mask is given, which cuDNN cannot apply inside its loop.
    """
    if state_mask is not None:
        raise ValueError("state_mask: cuDNN cannot apply one inside its loop; use backend fast")
    batch_size, (input_dim, _) = xs.shape[1], params.w_x.shape
    hidden_dim = len(params.w_h)
    hs, h, c = rnn.lstm(
        jnp.swapaxes(xs, 0, 1).astype(jnp.float32),
        state.h[None].astype(jnp.float32),
        state.c[None].astype(jnp.float32),
        pack(params).astype(jnp.float32),
        jnp.broadcast_to(jnp.asarray(length, jnp.int32), batch_size),
        input_dim,
        hidden_dim,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    last = state._replace(h=h[0].astype(state.h.dtype), c=c[0].astype(state.c.dtype))
    return jnp.swapaxes(hs, 0, 1).astype(xs.dtype), last


def pack(params: GatedParams) -> Float[Array, "N"]:
    """Packs the weights of a layer into one vector in cuDNN's order: matrices [G, D] first."""
    return jnp.concatenate([params.w_x.T.ravel(), params.w_h.T.ravel(), params.b_x, params.b_h])
