"""Gated cells: each gate sums a product of x and a product of h; the rest is elementwise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from awd_jax.core.draws import uniform
from awd_jax.core.product import affine
from awd_jax.core.recurrence import State, Unroll, by_scan

Gates = tuple[Array, ...]


class GatedParams(NamedTuple):
    """Weights of one layer, its gates concatenated along G.

    There are two bias vectors, as in torch and cuDNN: SGD moves their sum twice as fast and the
    clip norm counts both, so a single vector would train differently.
    """

    w_x: Float[Array, "D G"]
    w_h: Float[Array, "H G"]
    b_x: Float[Array, "G"]
    b_h: Float[Array, "G"]


class Equations(NamedTuple):
    """One step of a gated cell: elementwise functions, so they work in any layout.

    `activate(sums, apart)` returns the gates. `sums` holds x @ w_x + b_x + h @ w_h + b_h of each
    gate, except for the last `num_apart`: there it holds x @ w_x + b_x only, and `apart` holds
    their h @ w_h + b_h.
    `update(state, gates)` returns the next state.
    `pull_back(state, gates, apart, d_next)` is the gradient of both, written by hand: it maps the
    gradient of the next state to (d_sums, d_apart, d_state). `d_state` excludes the part that
    flows through the products.
    """

    num_gates: int
    num_apart: int
    activate: Callable[[Gates, Gates], Gates]
    update: Callable[[State, Gates], State]
    pull_back: Callable[[State, Gates, Gates, State], tuple[Gates, Gates, State]]

    @property
    def num_sums(self) -> int:
        """Number of gates whose sums are complete before `activate`."""
        return self.num_gates - self.num_apart


def init_gated(key: Key[Array, ""], input_dim: int, hidden_dim: int, num_gates: int) -> GatedParams:
    """Draws all four arrays from U(-1/sqrt(H), 1/sqrt(H)), as torch does."""
    width = num_gates * hidden_dim
    shapes = ((input_dim, width), (hidden_dim, width), (width,), (width,))
    return GatedParams(
        *(
            uniform(k, shape, hidden_dim)
            for k, shape in zip(jax.random.split(key, 4), shapes, strict=True)
        )
    )


def scan_gated(equations: Equations) -> Unroll:
    """Returns the unroll that defines a gated cell: a scan, differentiated by jax."""

    def step(
        params: GatedParams, state: State, h: Float[Array, "B H"], from_input: Float[Array, "B G"]
    ) -> State:
        num_sums = equations.num_sums
        xs = jnp.split(from_input, equations.num_gates, axis=-1)
        hs = jnp.split(affine(h, params.w_h, params.b_h), equations.num_gates, axis=-1)
        sums = tuple(x + y for x, y in zip(xs[:num_sums], hs[:num_sums], strict=True))
        gates = equations.activate((*sums, *xs[num_sums:]), tuple(hs[num_sums:]))
        return equations.update(state, gates)

    return by_scan(inputs_part, step)


def inputs_part(params: GatedParams, xs: Float[Array, "T B D"]) -> Float[Array, "T B G"]:
    """Returns what the inputs contribute to every gate, for all steps at once: x @ w_x + b_x."""
    return affine(xs, params.w_x, params.b_x)
