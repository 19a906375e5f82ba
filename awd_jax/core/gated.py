"""Gated cells: each gate sums a product of x and a product of h; the rest is elementwise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

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


def init_gated(key: Key[Array, ""], input_dim: int, hidden_dim: int, num_gates: int) -> GatedParams:
    """Draws all four arrays from U(-1/sqrt(H), 1/sqrt(H)), as torch does."""
    bound = hidden_dim**-0.5
    width = num_gates * hidden_dim
    shapes = ((input_dim, width), (hidden_dim, width), (width,), (width,))
    return GatedParams(
        *(
            jax.random.uniform(k, shape, minval=-bound, maxval=bound)
            for k, shape in zip(jax.random.split(key, 4), shapes, strict=True)
        )
    )


def scan_gated(equations: Equations) -> Unroll:
    """Returns the unroll that defines a gated cell: a scan, differentiated by jax."""

    def inputs(params: GatedParams, xs: Float[Array, "T B D"]) -> Float[Array, "T B G"]:
        return affine(xs, params.w_x, params.b_x)

    def step(params: GatedParams, state: State, h: Array, from_input: Array) -> State:
        return equations.update(state, gates_of_step(equations, params, h, from_input))

    return by_scan(inputs, step)


def gates_of_step(
    equations: Equations,
    params: GatedParams,
    h: Float[Array, "B H"],
    from_input: Float[Array, "B G"],
) -> Gates:
    """Returns the gates of a step, from the h before it and the inputs' part of the sums."""
    num_gates, num_sums = equations.num_gates, equations.num_gates - equations.num_apart
    xs = jnp.split(from_input, num_gates, axis=-1)
    hs = jnp.split(affine(h, params.w_h, params.b_h), num_gates, axis=-1)
    sums = tuple(x + y for x, y in zip(xs[:num_sums], hs[:num_sums], strict=True))
    return equations.activate((*sums, *xs[num_sums:]), tuple(hs[num_sums:]))
