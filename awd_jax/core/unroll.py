"""A cell over time, and a stack of them with dropout between the layers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from awd_jax.core import masks as dropout
from awd_jax.core.cells import (
    LSTMGates,
    LSTMParams,
    LSTMState,
    activate_gates,
    lstm_inputs,
    lstm_step,
    lstm_update,
)
from awd_jax.core.cudnn import cudnn_lstm
from awd_jax.core.product import multiply

# How a layer goes over time. All compute the same: `scan`, the definition, differentiated by jax;
# `fast`, with a backward pass by hand; `cudnn`, one call of a GPU's library. `auto` is cudnn where
# it can be had, else fast.
Backend = Literal["auto", "scan", "fast", "cudnn"]


class StackOutput(NamedTuple):
    """What a stack returns: the last layer's outputs and every layer's state."""

    raw_hs: Float[Array, "T B H"]  # before the last layer's dropout
    dropped_hs: Float[Array, "T B H"]  # after it
    carry: tuple[LSTMState, ...]


def scan_lstm(
    w_h: Float[Array, "H G"], state: LSTMState, from_inputs: Float[Array, "T B G"]
) -> LSTMState:
    """All T states of the recurrence: the definition, differentiated by jax."""

    def step(state: LSTMState, from_input: Array) -> tuple[LSTMState, LSTMState]:
        state = lstm_step(w_h, state, from_input)
        return state, state

    return jax.lax.scan(step, state, from_inputs)[1]


@jax.custom_vjp
def fast_lstm(
    w_h: Float[Array, "H G"], state: LSTMState, from_inputs: Float[Array, "T B G"]
) -> LSTMState:
    """`scan_lstm`, arranged for the caches of a CPU, with a backward pass written by hand.

    Two things make it fast. The recurrence runs on transposed states, [H, B]:
    both its products, w_h^T @ h forward and w_h @ d_gates backward, then have
    the large matrix on the left, where it is cut into parts for the cores. And
    jax's own backward pass adds [B, H]^T @ [B, G] to the gradient of `w_h` at
    every step, T passes over the largest matrix; here the scan makes the
    gradients of the gates alone, and one product over T and B that of `w_h`.
    """
    return _scan_transposed(w_h, state, from_inputs, lambda _, __, after: _transpose(after))


def _fast_lstm_forward(w_h: Array, state: LSTMState, from_inputs: Array) -> tuple[LSTMState, tuple]:
    hs, cs_before, gates = _scan_transposed(
        w_h, state, from_inputs, lambda gates, before, after: (after.h.T, before.c, gates)
    )
    cs = gates.f * cs_before + gates.i * gates.g  # again, where they are needed: they are not kept
    states = LSTMState(h=hs, c=jnp.swapaxes(cs, 1, 2))
    return states, (w_h, state, hs, cs_before, gates)


def _scan_transposed(
    w_h: Array,
    state: LSTMState,
    from_inputs: Array,
    keep: Callable[[LSTMGates, LSTMState, LSTMState], Any],
) -> Any:
    """What to `keep` of each step: of its gates, and of the states before and after, [H, B]."""
    w_ht = w_h.T.astype(state.h.dtype)

    def step(before: LSTMState, from_input: Array) -> tuple[LSTMState, tuple]:
        from_h = multiply("gh,hb->gb", w_ht, before.h, w_h.dtype)
        gates = activate_gates(*jnp.split(from_input.T + from_h, 4))
        after = lstm_update(gates, before)
        return after, keep(gates, before, after)

    return jax.lax.scan(step, _transpose(state), from_inputs)[1]


def _fast_lstm_backward(residuals: tuple, d_states: LSTMState) -> tuple:
    w_h, state, hs, cs_before, gates = residuals  # the last two are [T, H, B]
    dtype = state.h.dtype  # of the products
    narrow_w_h = w_h.astype(dtype)
    hs_before = jnp.concatenate([state.h[None], hs[:-1]])

    def step(d_state: LSTMState, at: tuple) -> tuple[LSTMState, Array]:
        (i, f, g, o), c_before, d_out = at
        d_h = d_state.h + d_out.h.T.astype(w_h.dtype)
        tanh_c = jnp.tanh(f * c_before + i * g)
        d_c = d_state.c + d_out.c.T + d_h * o * (1 - tanh_c**2)
        d_gates = jnp.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * c_before * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ]
        )
        d_h = multiply("hg,gb->hb", narrow_w_h, d_gates.astype(dtype), w_h.dtype)
        return LSTMState(h=d_h, c=d_c * f), d_gates.T

    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape[::-1], w_h.dtype), state)
    at = (gates, cs_before, d_states)
    d_state, d_from_inputs = jax.lax.scan(step, zeros, at, reverse=True)
    d_w_h = multiply("tbh,tbg->hg", hs_before, d_from_inputs.astype(dtype), w_h.dtype)
    d_state = _transpose(d_state)
    return d_w_h, d_state._replace(h=d_state.h.astype(dtype)), d_from_inputs


def _transpose(state: LSTMState) -> LSTMState:
    """Between [B, H] and [H, B]."""
    return jax.tree.map(jnp.transpose, state)


fast_lstm.defvjp(_fast_lstm_forward, _fast_lstm_backward)


def unroll_lstm(
    params: LSTMParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Int[Array, ""] | int | None = None,
    backend: Backend = "fast",
) -> tuple[Float[Array, "T B H"], LSTMState]:
    """Runs one LSTM layer over time.

    The product of the inputs with `w_x` is hoisted out of the recurrence: one
    large product instead of T small ones.

    Args:
      params: the layer's weights, weight-dropped already where wanted.
      state: the state before the first step.
      xs: inputs. Steps from `length` on are padding.
      length: how many steps are real; all T of them if None. An LSTM is causal,
        so padding at the end needs no masking.
      backend: how; only `scan` and `fast` go through `vmap`.

    Returns:
      The outputs of all T steps, and the state after step `length`. Outputs of
      padding have no meaning.
    """
    length = xs.shape[0] if length is None else length
    if backend == "auto":  # cudnn knows float32 only
        is_for_cudnn = jax.default_backend() == "gpu" and xs.dtype == jnp.float32
        backend = "cudnn" if is_for_cudnn else "fast"
    if backend == "cudnn":
        return cudnn_lstm(params, state, xs, length)
    recurrence = scan_lstm if backend == "scan" else fast_lstm
    states = recurrence(params.w_h, state, lstm_inputs(params, xs))
    return states.h, jax.tree.map(
        lambda s: jax.lax.dynamic_index_in_dim(s, length - 1, keepdims=False), states
    )


def unroll_stack(
    layers: Sequence[LSTMParams],
    carry: Sequence[LSTMState],
    xs: Float[Array, "T B D"],
    masks: dropout.Masks,
    length: Int[Array, ""] | int | None = None,
    backend: Backend = "fast",
) -> StackOutput:
    """Runs LSTM layers one above the other, with weight drop and locked dropout.

    Args:
      layers: weights of each layer, the first one reads `xs`.
      carry: state of each layer before the first step.
      xs: embedded tokens.
      masks: of this window, `masks.no_masks(len(layers))` for evaluation.
      length: how many steps are real, see `unroll_lstm`.
      backend: see `unroll_lstm`.
    """
    new_carry = []
    after_layer = (*masks.hidden, masks.output)
    dropped_hs = dropout.apply(masks.input, xs)
    for params, state, weight_masks, mask in zip(
        layers, carry, masks.weight, after_layer, strict=True
    ):
        params = params._replace(
            w_x=dropout.apply(weight_masks.w_x, params.w_x),
            w_h=dropout.apply(weight_masks.w_h, params.w_h),
        )
        raw_hs, state = unroll_lstm(params, state, dropped_hs, length, backend)
        dropped_hs = dropout.apply(mask, raw_hs)
        new_carry.append(state)
    return StackOutput(raw_hs, dropped_hs, tuple(new_carry))
