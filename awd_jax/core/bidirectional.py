"""A layer that reads each sequence in both directions (Schuster and Paliwal 1997)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from awd_jax.core.recurrence import Cell, Length, Params, State


class BothDirections(NamedTuple):
    """Parameters or states of the two directions."""

    forward: Any
    backward: Any

    @property
    def h(self) -> Float[Array, "B HH"]:
        """The h of both directions, concatenated."""
        return jnp.concatenate([self.forward.h, self.backward.h], axis=-1)


def bidirectional(cell: Cell) -> Cell:
    """Returns a layer of two cells, one reading backwards; concatenates their outputs (HH = 2H).

    The backward cell starts at each sequence's last real step, so padding changes nothing. Each
    output depends on the whole sequence, so a language model cannot use this layer.
    """

    def init(key: Key[Array, ""], input_dim: int, hidden_dim: int) -> BothDirections:
        forward, backward = jax.random.split(key)
        return BothDirections(
            cell.init(forward, input_dim, hidden_dim), cell.init(backward, input_dim, hidden_dim)
        )

    def initial_state(
        batch_size: int, input_dim: int, hidden_dim: int, dtype: DTypeLike | None = None
    ) -> BothDirections:
        # Two states: one array in both places could not be donated.
        return BothDirections(
            cell.initial_state(batch_size, input_dim, hidden_dim, dtype),
            cell.initial_state(batch_size, input_dim, hidden_dim, dtype),
        )

    def unroll(
        params: Params,
        state: State,
        xs: Float[Array, "T B D"],
        length: Length,
        state_mask: Float[Array, "B HH"] | None = None,
    ) -> tuple[Float[Array, "T B HH"], State]:
        masks = (None, None) if state_mask is None else jnp.split(state_mask, 2, axis=-1)
        hs, forward = cell.unroll(params.forward, state.forward, xs, length, masks[0])
        backwards = reverse(xs, length)
        hs_back, backward = cell.unroll(
            params.backward, state.backward, backwards, length, masks[1]
        )
        both = jnp.concatenate([hs, reverse(hs_back, length)], axis=-1)
        return both, BothDirections(forward, backward)

    return cell._replace(
        init=init,
        initial_state=initial_state,
        unroll=unroll,
        output_dim=lambda hidden_dim: 2 * cell.output_dim(hidden_dim),
        is_causal=False,
    )


def reverse(xs: Float[Array, "T B D"], length: Length) -> Float[Array, "T B D"]:
    """Reverses the first `length` steps of each sequence; padding stays in place."""
    steps = jnp.arange(xs.shape[0])[:, None]
    lengths = jnp.broadcast_to(jnp.asarray(length), xs.shape[1:2])[None]
    source = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    return jnp.take_along_axis(xs, source[:, :, None], axis=0)
