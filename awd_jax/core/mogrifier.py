"""The Mogrifier of Melis, Kocisky and Blunsom (2020, arXiv 1909.01792).

Before each step of a cell, its input x and its h gate each other in turn, for some rounds:

    x = 2 sigmoid(h @ Q + b) * x  in rounds 0, 2, ...
    h = 2 sigmoid(x @ R + b) * h  in rounds 1, 3, ...

Each round has a Q or an R of its own, a product of two narrow matrices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from awd_jax.core.backends import Backend
from awd_jax.core.lstm import lstm
from awd_jax.core.product import affine, product
from awd_jax.core.recurrence import Cell, Params, State, by_scan


class LowRank(NamedTuple):
    """An affine map whose matrix, down @ up, has rank R at most."""

    down: Float[Array, "N R"]
    up: Float[Array, "R M"]
    b: Float[Array, "M"]


class MogrifierParams(NamedTuple):
    """The parameters of a cell, and the map of each round."""

    cell: Params
    rounds: tuple[LowRank, ...]


def mogrified(cell: Cell, rounds: int, rank: int) -> Cell:
    """Returns a cell whose inputs and h gate each other before each step.

    The cell must put out its h, and read its old one in products only, as the LSTM does: all that
    it reads of h is gated. The state is that of the cell. Masks come before the gates.

    Args:
      cell: the cell to step.
      rounds: number of gates.
      rank: R of the matrices.
    """

    def init(key: Key[Array, ""], input_dim: int, hidden_dim: int) -> MogrifierParams:
        key_cell, *keys = jax.random.split(key, 1 + rounds)
        dims = (hidden_dim, input_dim)
        maps = (init_low_rank(k, dims[r % 2], rank, dims[1 - r % 2]) for r, k in enumerate(keys))
        return MogrifierParams(cell.init(key_cell, input_dim, hidden_dim), tuple(maps))

    def step(
        params: MogrifierParams, state: State, h: Float[Array, "B H"], x: Float[Array, "B D"]
    ) -> State:
        for r, low_rank in enumerate(params.rounds):
            if r % 2 == 0:
                x = gate(low_rank, h, x)
            else:
                h = gate(low_rank, x, h)
        state = state._replace(h=h.astype(state.h.dtype))
        return cell.unroll(params.cell, state, x[None], 1)[1]

    return cell._replace(init=init, unroll=by_scan(lambda params, xs: xs, step))


def init_low_rank(key: Key[Array, ""], input_dim: int, rank: int, output_dim: int) -> LowRank:
    """Draws each matrix from U(-1/sqrt(n), 1/sqrt(n)), n its rows; b is 0, so gates are about 1."""
    down, up = (
        jax.random.uniform(k, shape, minval=-1, maxval=1) * shape[0] ** -0.5
        for k, shape in zip(
            jax.random.split(key), ((input_dim, rank), (rank, output_dim)), strict=True
        )
    )
    return LowRank(down, up, jnp.zeros(output_dim))


def gate(
    low_rank: LowRank, source: Float[Array, "B N"], x: Float[Array, "B M"]
) -> Float[Array, "B M"]:
    """Returns x times 2 sigmoid(the map of `source`), in the dtype of x."""
    inner = product(source, low_rank.down).astype(source.dtype)
    factor = 2 * jax.nn.sigmoid(affine(inner, low_rank.up, low_rank.b))
    return (factor * x.astype(factor.dtype)).astype(x.dtype)


def mogrifier(
    backend: Backend,
    mogrifier_rounds: int,
    mogrifier_rank: int,
    forget_gate_bias: float = 0.0,
    cap_input_gate: bool = False,
) -> Cell:
    """Returns the Mogrifier LSTM.

    Args:
      backend: scan, or auto, which means it: each step takes many products in sequence.
      mogrifier_rounds: number of gates; the paper has 5 for words.
      mogrifier_rank: R of their matrices.
      forget_gate_bias: of the LSTM, as in `lstm`.
      cap_input_gate: of the LSTM, as in `lstm`.

    Raises:
      ValueError: another backend.
    """
    if backend not in ("auto", "scan"):
        raise ValueError(f"backend {backend}: the mogrifier has scan only")
    return mogrified(
        lstm("scan", forget_gate_bias, cap_input_gate), mogrifier_rounds, mogrifier_rank
    )
