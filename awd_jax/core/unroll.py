"""A cell over time, and a stack of them with dropout between the layers."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from awd_jax.core import masks as dropout
from awd_jax.core.cells import LSTMParams, LSTMState, lstm_inputs, lstm_step
from awd_jax.core.cudnn import cudnn_lstm
from awd_jax.core.fast import fast_lstm

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
    params: LSTMParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Int[Array, ""] | int,
) -> tuple[Float[Array, "T B H"], LSTMState]:
    """What `unroll_lstm` computes: the definition, differentiated by jax.

    The product of the inputs with `w_x` is hoisted out of the recurrence: one
    large product instead of T small ones.
    """

    def step(state: LSTMState, from_input: Array) -> tuple[LSTMState, LSTMState]:
        state = lstm_step(params.w_h, state, from_input)
        return state, state

    _, states = jax.lax.scan(step, state, lstm_inputs(params, xs))
    return states.h, jax.tree.map(
        lambda s: jax.lax.dynamic_index_in_dim(s, length - 1, keepdims=False), states
    )


def unroll_lstm(
    params: LSTMParams,
    state: LSTMState,
    xs: Float[Array, "T B D"],
    length: Int[Array, ""] | int | None = None,
    backend: Backend = "fast",
) -> tuple[Float[Array, "T B H"], LSTMState]:
    """Runs one LSTM layer over time.

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
    if backend == "auto":  # cudnn knows float32 only
        is_for_cudnn = jax.default_backend() == "gpu" and xs.dtype == jnp.float32
        backend = "cudnn" if is_for_cudnn else "fast"
    lstms: dict[str, Callable[..., tuple[Array, LSTMState]]] = {
        "scan": scan_lstm,
        "fast": fast_lstm,
        "cudnn": cudnn_lstm,
    }
    length = jnp.asarray(xs.shape[0] if length is None else length)
    return lstms[backend](params, state, xs, length)


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
