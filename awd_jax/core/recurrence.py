"""The contract of a recurrent cell, and its plain unrolling over time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from awd_jax.core import masks as dropout

Params = Any  # a NamedTuple of arrays, possibly nested
State = Any  # a NamedTuple of leaves [B, ...]; a field h enters the recurrent products
Length = Int[Array, ""] | Int[Array, "B"] | int
Unroll = Callable[..., tuple[Array, State]]


class Cell(NamedTuple):
    """A recurrent layer as pure functions; combinators such as `residual` wrap one in another.

    `unroll(params, state, xs, length, state_mask)` runs over the T steps of `xs` [T, B, D] and
    returns the outputs [T, B, H] and the state after step `length` of each sequence. `length` is
    one number for all sequences or one for each; outputs from there on are undefined.
    `state_mask` [B, H], a constant or None, multiplies h where it enters the recurrent products; a
    cell without them takes None only.
    """

    init: Callable[..., Params]  # (key, D, H) -> params
    initial_state: Callable[..., State]  # (B, D, H, dtype of the activations) -> state
    unroll: Unroll
    output_dim: Callable[[int], int] = lambda hidden_dim: hidden_dim  # H -> width of the outputs
    dropped: tuple[str, ...] = ("w_h",)  # names of the parameters under weight drop
    dropped_inputs: tuple[str, ...] = ("w_x",)  # input weights, dropped at their own rate
    is_causal: bool = True  # no output depends on a later input


def by_scan(inputs: Callable[..., Array], step: Callable[..., State]) -> Unroll:
    """Returns the `unroll` of a cell from its equations, to be differentiated by jax.

    Args:
      inputs: maps (params, xs [T, B, D]) to what the inputs contribute at all T steps: one large
        product instead of T small ones.
      step: maps (params, state, h, from_input) to the next state. `h` is the h of the state,
        masked and in the dtype of the products; `from_input` is one step of `inputs`.
    """

    def unroll(
        params: Params,
        state: State,
        xs: Float[Array, "T B D"],
        length: Length,
        state_mask: Float[Array, "B H"] | None = None,
    ) -> tuple[Float[Array, "T B H"], State]:
        def scan_step(state: State, from_input: Array) -> tuple[State, State]:
            h = dropout.apply(state_mask, state.h).astype(xs.dtype)
            after = step(params, state, h, from_input)
            after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
            return after, after

        _, states = jax.lax.scan(scan_step, state, inputs(params, xs))
        return states.h.astype(xs.dtype), state_after(length, state, states)

    return unroll


def state_after(length: Length, start: State, states: State) -> State:
    """Returns the state after `length` steps.

    Args:
      length: one number for all sequences, or one for each; 0 gives `start`.
      start: the state before the first step; leaves [B, ...].
      states: the states after every step; leaves [T, B, ...].
    """

    def pick(first: Array, later: Array) -> Array:
        # For length 0 the index is -1: what it reads is not used.
        if jnp.ndim(length) == 0:
            last = jax.lax.dynamic_index_in_dim(later, length - 1, keepdims=False)
        else:
            last = jax.vmap(lambda column, n: column[n - 1], (1, 0))(later, length)
        is_moved = jnp.reshape(jnp.asarray(length) > 0, (-1, *(1,) * (first.ndim - 1)))
        return jnp.where(is_moved, last, first)

    return jax.tree.map(pick, start, states)


def residual(cell: Cell) -> Cell:
    """Returns a cell that adds its inputs, the first ones if they are wider, to its outputs.

    The state stays that of `cell`, so the sum does not enter the recurrence (Wu et al. 2016,
    arXiv 1609.08144, section 3.1).
    """

    def unroll(
        params: Params,
        state: State,
        xs: Float[Array, "T B D"],
        length: Length,
        state_mask: Float[Array, "B H"] | None = None,
    ) -> tuple[Float[Array, "T B H"], State]:
        hs, state = cell.unroll(params, state, xs, length, state_mask)
        return xs[..., : hs.shape[-1]] + hs, state

    return cell._replace(unroll=unroll)
