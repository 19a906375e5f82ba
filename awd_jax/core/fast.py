"""Unrolls a gated cell over time, laid out for CPU caches, with a hand-written gradient."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from awd_jax.core import masks as dropout
from awd_jax.core.gated import Equations, GatedParams, Gates
from awd_jax.core.layout import lay_out
from awd_jax.core.product import multiply
from awd_jax.core.recurrence import Length, State, Unroll


def fast_gated(equations: Equations) -> Unroll:
    """Returns an unroll that computes `gated.scan_gated` faster; outputs from `length` on are 0.

    - The recurrence works on transposed states, [H, B]. Both of its products,
      w_h^T @ h forward and w_h @ d_gates backward, then have the large matrix on the
      left, the side that is split among the cores. On a CPU it stops after the
      longest `length`; elsewhere it has T steps, a number that the compiler knows.
      It adds idle columns where they make it faster.
    - The gates are therefore [G, B], and those of all steps [G, T * B]. All large
      products then sum over the first axis of their left factor; for many rows XLA
      passes such products to the faster of its libraries.
    - One buffer first holds the inputs' part of the sums; step by step, the gates
      overwrite it.
    - jax's own backward pass adds [B, H]^T @ [B, G] to the gradient of `w_h` at
      every step: T passes over the largest matrix. Here the loop computes only the
      gradients of the gates, and one product over T and B that of `w_h`.
    """

    def unroll(
        params: GatedParams,
        state: State,
        xs: Float[Array, "T B D"],
        length: Length,
        state_mask: Float[Array, "B H"] | None = None,
    ) -> tuple[Float[Array, "T B H"], State]:
        return _fast(equations, params, state, xs, jnp.asarray(length), state_mask)

    return unroll


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fast(
    equations: Equations,
    params: GatedParams,
    state: State,
    xs: Array,
    length: Array,
    state_mask: Array | None,
) -> tuple[Array, State]:
    return _forward(equations, params, state, xs, length, state_mask)[0]


def _forward(
    equations: Equations,
    params: GatedParams,
    state: State,
    xs: Array,
    length: Array,
    state_mask: Array | None,
) -> tuple[tuple[Array, State], tuple]:
    num_steps, batch_size, _ = xs.shape
    dtype, narrow = params.w_h.dtype, xs.dtype  # dtypes of sums and of products
    num_summed = equations.num_sums * len(params.w_h)
    # b_h of the last gates joins their product with h, which stays out of the sums.
    b_sums, b_apart = params.b_x + params.b_h.at[num_summed:].set(0), params.b_h[num_summed:]
    w_ht = params.w_h.T.astype(narrow)
    sums = multiply("dg,nd->gn", params.w_x.astype(narrow), _rows(xs), dtype)
    sums += b_sums[:, None]  # so far only the inputs' part
    gates = _with_idle_columns(jnp.swapaxes(sums.reshape(-1, num_steps, batch_size), 0, 1))
    mask = None if state_mask is None else _with_idle_columns(state_mask.T)

    def step(t: Array | int, loop: tuple) -> tuple:
        gates, apart, before, hs, others = loop
        h = dropout.apply(mask, before.h).astype(narrow)
        from_h = multiply("gh,hb->gb", w_ht, h, dtype)
        sums = gates[t]
        if equations.num_apart:
            sums = jnp.concatenate([sums[:num_summed] + from_h[:num_summed], sums[num_summed:]])
            from_h = from_h[num_summed:] + b_apart[:, None]
            apart = _set_row(apart, t, from_h)
        else:
            sums, from_h = sums + from_h, from_h[:0]
        activated = equations.activate(
            _split(sums, equations.num_gates), _split(from_h, equations.num_apart)
        )
        after = equations.update(_widen(before, dtype), activated)
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, before)
        after = _where_real(t, length, after, before)
        h_row = _where_real(t, length, after.h, jnp.zeros_like(after.h))
        return (
            _set_row(gates, t, jnp.concatenate(activated)),
            apart,
            after,
            _set_row(hs, t, h_row),
            tuple(_set_row(o, t, s) for o, s in zip(others, before[1:], strict=True)),
        )

    before = jax.tree.map(lambda s: _with_idle_columns(s.T), state)
    apart = jnp.zeros((num_steps, len(b_apart), gates.shape[-1]), dtype)
    # The outputs, and the rest of the state before each step, which the backward pass reads.
    hs, *others = (jnp.zeros((num_steps, *s.shape), s.dtype) for s in before)
    gates, apart, last, hs, others = _loop(
        step, (gates, apart, before, hs, tuple(others)), length, num_steps
    )
    hs = jnp.swapaxes(_step_by_step(hs)[:, :, :batch_size], 1, 2)
    last = jax.tree.map(lambda s: s[:, :batch_size].T, last)
    residuals = (params, state, xs, length, state_mask, hs, others, gates, apart)
    return (hs.astype(narrow), last), residuals


def _backward(equations: Equations, residuals: tuple, d_outputs: tuple[Array, State]) -> tuple:
    params, state, xs, length, state_mask, hs, others, gates, apart = residuals
    d_hs, d_last = d_outputs
    (num_steps, batch_size, _), dtype, narrow = xs.shape, params.w_h.dtype, xs.dtype
    w_x, w_h = params.w_x.astype(narrow), params.w_h.astype(narrow)
    num_summed = equations.num_sums * len(w_h)
    mask = None if state_mask is None else _with_idle_columns(state_mask.T)
    # After its end a sequence has 0 in hs, not its state: no gradient depends on it there.
    hs_before = jnp.concatenate([state.h[None], hs[:-1]])
    columns_before, d_columns = (
        _step_by_step(_with_idle_columns(jnp.swapaxes(rows, 1, 2))) for rows in (hs_before, d_hs)
    )

    def step(t: Array | int, loop: tuple) -> tuple:
        d_sums, d_apart, d_after = loop
        before = type(state)(columns_before[t], *(o[t] for o in others))
        d_next = d_after._replace(h=d_after.h + d_columns[t].astype(dtype))
        d_gates, d_own, d_before = equations.pull_back(
            _widen(before, dtype),
            _split(gates[t], equations.num_gates),
            _split(apart[t], equations.num_apart),
            d_next,
        )
        d_now = _where_real(t, length, jnp.concatenate(d_gates), 0.0)
        if equations.num_apart:
            d_from_h = _where_real(t, length, jnp.concatenate(d_own), 0.0)
            d_apart = _set_row(d_apart, t, d_from_h)
            d_from_h = jnp.concatenate([d_now[:num_summed], d_from_h])
        else:
            d_from_h = d_now
        d_h = dropout.apply(mask, multiply("hg,gb->hb", w_h, d_from_h.astype(narrow), dtype))
        d_before = d_before._replace(h=d_before.h + d_h)
        return _set_row(d_sums, t, d_now), d_apart, _where_real(t, length, d_before, d_after)

    d_last = jax.tree.map(lambda d: _with_idle_columns(d.T.astype(dtype)), d_last)
    # A new buffer. Overwriting `gates` looks possible, but XLA cannot see that row t is read
    # before it is written, and copies the whole buffer at every step.
    d_sums, d_apart = jnp.zeros_like(gates), jnp.zeros_like(apart)
    d_sums, d_apart, d_state = _loop(
        step, (d_sums, d_apart, d_last), length, num_steps, is_reversed=True
    )
    d_sums = _columns(d_sums, batch_size)
    d_from_h = jnp.concatenate([d_sums[:num_summed], _columns(d_apart, batch_size)])
    d_sums, d_from_h = d_sums.astype(narrow), d_from_h.astype(narrow)
    # As a product: a plain sum would cost a TPU 4 % of a training step.
    ones = jnp.ones((d_sums.shape[1], 1), narrow)
    d_b_x, d_b_h = (multiply("gn,nk->gk", d, ones, dtype)[:, 0] for d in (d_sums, d_from_h))
    every_step = None if state_mask is None else state_mask[None]
    seen = dropout.apply(every_step, hs_before).astype(narrow)
    d_params = GatedParams(
        w_x=multiply("nd,gn->dg", _rows(xs), d_sums, dtype),
        w_h=multiply("nh,gn->hg", _rows(seen), d_from_h, dtype),
        b_x=d_b_x,
        b_h=d_b_h,
    )
    d_state = jax.tree.map(lambda d, s: d[:, :batch_size].T.astype(s.dtype), d_state, state)
    d_xs = multiply("gn,dg->nd", d_sums, w_x, dtype)
    return d_params, d_state, d_xs.reshape(xs.shape).astype(narrow), None, None


_fast.defvjp(_forward, _backward)


def _loop(
    step: Callable[[Array, Any], Any],
    start: Any,
    length: Length,
    num_steps: int,
    *,
    is_reversed: bool = False,
) -> Any:
    """Runs `step(t, loop)` over all steps t; on a CPU, over those before the longest length."""

    def run(end: Array | int, loop: Any) -> Any:
        def body(i: Array | int, loop: Any) -> Any:
            i = jnp.asarray(i, jnp.asarray(length).dtype)
            return step(end - 1 - i if is_reversed else i, loop)

        return jax.lax.fori_loop(0, end, body, loop)

    # A GPU would wait for the host at every step of a loop of unknown length.
    return jax.lax.platform_dependent(
        start,
        cpu=lambda loop: run(jnp.max(length), loop),
        default=functools.partial(run, num_steps),
    )


def _where_real(t: Array | int, length: Length, now: State, otherwise: State) -> State:
    """Selects `now` for the sequences that have a step t."""
    is_real = jnp.asarray(t < length)
    is_real = is_real if is_real.ndim == 0 else _with_idle_columns(is_real)
    return jax.tree.map(lambda a, b: jnp.where(is_real, a, b), now, otherwise)


def _split(array: Float[Array, "G C"], num: int) -> Gates:
    return tuple(jnp.split(array, num)) if num else ()


def _widen(state: State, dtype: jnp.dtype) -> State:
    return jax.tree.map(lambda s: s.astype(dtype), state)


def _set_row(array: Array, t: Array | int, row: Array) -> Array:
    """Replaces row t, in place if `array` has no other reader."""
    return jax.lax.dynamic_update_index_in_dim(array, row, t, axis=0)


def _rows(array: Float[Array, "T B N"]) -> Float[Array, "T*B N"]:
    return array.reshape(-1, array.shape[-1])


def _step_by_step(array: Float[Array, "T H C"]) -> Float[Array, "T H C"]:
    """Keeps the numbers of each step together: else the loop gathers and scatters them."""
    return lay_out(array, (0, 2, 1))


def _columns(array: Float[Array, "T G C"], batch_size: int) -> Float[Array, "G N"]:
    """Concatenates the columns of all steps, without the idle ones."""
    return jnp.swapaxes(array[:, :, :batch_size], 0, 1).reshape(
        array.shape[1], len(array) * batch_size
    )


def _with_idle_columns(array: Shaped[Array, "*N B"]) -> Shaped[Array, "*N C"]:
    """Pads B to the next multiple of 16 if B mod 16 is 9 to 15, which measured faster."""
    remainder = array.shape[-1] % 16
    num_idle = 16 - remainder if remainder > 8 else 0
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, num_idle)])
