"""One LSTM layer over time, arranged for the caches of a CPU, its gradient by hand."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from awd_jax.core.cells import LSTMParams, LSTMState, activate_gates, lstm_update
from awd_jax.core.product import multiply


@jax.custom_vjp
def fast_lstm(
    params: LSTMParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Int[Array, ""],
) -> tuple[Float[Array, "T B H"], LSTMState]:
    """What `unroll.unroll_lstm` computes: outputs from `length` on are 0.

    - The recurrence is on transposed states, [H, B]: both its products,
      w_h^T @ h forward and w_h @ d_gates backward, have the large matrix on the
      left, where it is cut into parts for the cores. It ends after `length`
      steps, and has idle columns where they make it faster.
    - So the gates are [G, B], and those of all steps [G, T * B]: then all large
      products have a left factor that is summed over its first axis, which XLA
      gives to the faster of its libraries for many rows.
    - What the inputs add to the gates is overwritten, step by step, by the gates.
    - jax's own backward pass adds [B, H]^T @ [B, G] to the gradient of `w_h` at
      every step, T passes over the largest matrix. Here the loop makes the
      gradients of the gates alone, and one product over T and B that of `w_h`.
    """
    return _fast_lstm_forward(params, state, xs, length)[0]


def _fast_lstm_forward(
    params: LSTMParams, state: LSTMState, xs: Array, length: Array
) -> tuple[tuple[Array, LSTMState], tuple]:
    num_steps, batch_size, _ = xs.shape
    dtype = params.w_h.dtype
    w_ht = params.w_h.T.astype(state.h.dtype)
    gates = multiply("dg,nd->gn", params.w_x.astype(xs.dtype), _rows(xs), dtype)
    gates += (params.b_x + params.b_h)[:, None]  # so far those of the inputs
    gates = jnp.swapaxes(gates.reshape(-1, num_steps, batch_size), 0, 1)
    gates = _with_idle_columns(gates)

    def step(t: Array | int, loop: tuple) -> tuple:
        gates, before, hs, cs_before = loop
        from_h = multiply("gh,hb->gb", w_ht, before.h, dtype)
        activated = activate_gates(*jnp.split(gates[t] + from_h, 4))
        after = lstm_update(activated, before)
        return (
            _set_row(gates, t, jnp.concatenate(activated)),
            after,
            _set_row(hs, t, after.h.T[:batch_size]),
            _set_row(cs_before, t, before.c),
        )

    before = jax.tree.map(lambda s: _with_idle_columns(s.T), state)
    hs = jnp.zeros((num_steps, *state.h.shape), state.h.dtype)
    cs_before = jnp.zeros((num_steps, *before.c.shape), before.c.dtype)
    gates, last, hs, cs_before = jax.lax.fori_loop(0, length, step, (gates, before, hs, cs_before))
    last = jax.tree.map(lambda s: s[:, :batch_size].T, last)
    return (hs, last), (params, state, xs, length, hs, cs_before, gates)


def _fast_lstm_backward(residuals: tuple, d_outputs: tuple[Array, LSTMState]) -> tuple:
    params, state, xs, length, hs, cs_before, gates = residuals
    d_hs, d_last = d_outputs
    batch_size = xs.shape[1]
    dtype, narrow = params.w_h.dtype, state.h.dtype  # of sums and of products
    w_x, w_h = params.w_x.astype(narrow), params.w_h.astype(narrow)

    def step(num_done: Array | int, loop: tuple) -> tuple:
        d_gates, d_state = loop
        t = length - 1 - num_done
        i, f, g, o = jnp.split(gates[t], 4)
        c_before = cs_before[t]
        d_h = d_state.h + _with_idle_columns(d_hs[t].T.astype(dtype))
        tanh_c = jnp.tanh(f * c_before + i * g)
        d_c = d_state.c + d_h * o * (1 - tanh_c**2)
        at_t = jnp.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * c_before * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ]
        )
        d_h = multiply("hg,gb->hb", w_h, at_t.astype(narrow), dtype)
        return _set_row(d_gates, t, at_t), LSTMState(h=d_h, c=d_c * f)

    d_last = jax.tree.map(lambda d: _with_idle_columns(d.T.astype(dtype)), d_last)
    # Not over the gates: XLA does not see that they are read first, and would copy them, T times.
    d_gates = jnp.zeros_like(gates)
    d_gates, d_state = jax.lax.fori_loop(0, length, step, (d_gates, d_last))
    d_gates = jnp.swapaxes(d_gates[:, :, :batch_size], 0, 1).reshape(w_h.shape[1], -1)
    d_b = jnp.sum(d_gates, axis=1)
    d_gates = d_gates.astype(narrow)
    hs_before = jnp.concatenate([state.h[None], hs[:-1]])
    d_params = LSTMParams(
        w_x=multiply("nd,gn->dg", _rows(xs), d_gates, dtype),
        w_h=multiply("nh,gn->hg", _rows(hs_before), d_gates, dtype),
        b_x=d_b,
        b_h=d_b,
    )
    d_state = jax.tree.map(lambda d: d[:, :batch_size].T, d_state)
    d_state = d_state._replace(h=d_state.h.astype(narrow))
    d_xs = multiply("gn,dg->nd", d_gates, w_x, dtype)
    return d_params, d_state, d_xs.reshape(xs.shape).astype(xs.dtype), None


fast_lstm.defvjp(_fast_lstm_forward, _fast_lstm_backward)


def _set_row(array: Array, t: Array | int, row: Array) -> Array:
    """Writes in place, where `array` has no other reader."""
    return jax.lax.dynamic_update_index_in_dim(array, row, t, axis=0)


def _rows(array: Float[Array, "T B N"]) -> Float[Array, "T*B N"]:
    return array.reshape(-1, array.shape[-1])


def _with_idle_columns(array: Float[Array, "*N B"]) -> Float[Array, "*N C"]:
    """Zeros beside 9 to 15 columns over a multiple of 16: its products take longer with fewer."""
    remainder = array.shape[-1] % 16
    num_idle = 16 - remainder if remainder > 8 else 0
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, num_idle)])
