"""The quasi-recurrent network of Bradbury et al. (2017, arXiv 1611.01576)."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from awd_jax.core.backends import Backend
from awd_jax.core.draws import uniform
from awd_jax.core.product import affine
from awd_jax.core.recurrence import Cell, Length, state_after


class QRNNParams(NamedTuple):
    """Weights of one layer, which reads W inputs at a time; its gates lie along G as z, f, o."""

    w: Float[Array, "W*D G"]  # of the earliest input first
    b: Float[Array, "G"]


class QRNNState(NamedTuple):
    """The state of a layer."""

    c: Float[Array, "*T B H"]  # a weighted mean over all steps: at least float32
    x: Float[Array, "*T B D"] | None = None  # the input before; only a filter of width 2 reads it


# (f, (1 - f) * z, c before the first step) -> c after every step
Pool = Callable[
    [Float[Array, "T B H"], Float[Array, "T B H"], Float[Array, "B H"]], Float[Array, "T B H"]
]


def qrnn(backend: Backend = "auto", filter_width: Literal[1, 2] = 1) -> Cell:
    """Returns the QRNN with fo-pooling; its gates are stored in the order z, f, o.

        z = tanh(...),  f, o = sigmoid(...)  of  x_t @ w + b, or of [x_{t-1}; x_t] @ w + b
        c' = f * c + (1 - f) * z,  h = o * c'

    No product depends on the step before. Where the paper has f, as here, awd-lstm-lm's QRNN has
    1 - f: the same function once the weights of f change their sign.

    Args:
      backend: how c is computed over time: by `scan`, step after step, or `associative`, a tree
        over the steps about 2 log2(T) deep. `auto` is scan on a CPU, where it measured faster;
        elsewhere it is associative, which is not measured there.
      filter_width: number of inputs that a step reads: 1, its own, or 2, the one before as well.

    Raises:
      ValueError: another backend.
    """
    pools: dict[str, Pool] = {
        "auto": _pool_auto,
        "scan": pool_by_scan,
        "associative": pool_by_tree,
    }
    if backend not in pools:
        raise ValueError(f"backend {backend}: the QRNN has scan and associative only")
    return Cell(
        functools.partial(_init, filter_width=filter_width),
        functools.partial(_initial_state, filter_width=filter_width),
        functools.partial(_unroll, pools[backend]),
        dropped=("w",),
        dropped_inputs=(),
    )


def pool_by_scan(
    f: Float[Array, "T B H"], added: Float[Array, "T B H"], start: Float[Array, "B H"]
) -> Float[Array, "T B H"]:
    """Returns c_t = f_t * c_{t-1} + added_t of every step, one after the other."""

    def step(c: Array, gates: tuple[Array, Array]) -> tuple[Array, Array]:
        c = gates[0] * c + gates[1]
        return c, c

    return jax.lax.scan(step, start, (f, added))[1]


def pool_by_tree(
    f: Float[Array, "T B H"], added: Float[Array, "T B H"], start: Float[Array, "B H"]
) -> Float[Array, "T B H"]:
    """Returns the same from a tree over the steps: two of them in a row are a step as well."""

    def join(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return second[0] * first[0], second[0] * first[1] + second[1]

    added = added.at[0].add(f[0] * start)
    return jax.lax.associative_scan(join, (f, added))[1]


def _pool_auto(f: Array, added: Array, start: Array) -> Array:
    return jax.lax.platform_dependent(f, added, start, cpu=pool_by_scan, default=pool_by_tree)


def _init(key: Key[Array, ""], input_dim: int, hidden_dim: int, filter_width: int) -> QRNNParams:
    """Draws both arrays from U(-1/sqrt(N), 1/sqrt(N)), N the inputs of a sum, as torch does."""
    num_inputs = filter_width * input_dim
    key_w, key_b = jax.random.split(key)
    return QRNNParams(
        uniform(key_w, (num_inputs, 3 * hidden_dim), num_inputs),
        uniform(key_b, (3 * hidden_dim,), num_inputs),
    )


def _initial_state(
    batch_size: int,
    input_dim: int,
    hidden_dim: int,
    dtype: DTypeLike | None = None,
    *,
    filter_width: int,
) -> QRNNState:
    """Returns the state before the first step: zeros, the input in this dtype."""
    c = jnp.zeros((batch_size, hidden_dim))
    return QRNNState(c, jnp.zeros((batch_size, input_dim), dtype) if filter_width == 2 else None)


def _unroll(
    pool: Pool,
    params: QRNNParams,
    state: QRNNState,
    xs: Float[Array, "T B D"],
    length: Length,
    state_mask: Float[Array, "B H"] | None = None,
) -> tuple[Float[Array, "T B H"], QRNNState]:
    if state_mask is not None:
        raise ValueError("state_mask: the QRNN has no recurrent product")
    read = xs if state.x is None else _with_before(state.x.astype(xs.dtype), xs)
    z, f, o = jnp.split(affine(read, params.w, params.b), 3, axis=-1)
    f = jax.nn.sigmoid(f)
    cs = pool(f, (1 - f) * jnp.tanh(z), state.c)
    hs = jax.nn.sigmoid(o) * cs
    states = QRNNState(cs, None if state.x is None else xs.astype(state.x.dtype))
    return hs.astype(xs.dtype), state_after(length, state, states)


def _with_before(first: Float[Array, "B D"], xs: Float[Array, "T B D"]) -> Float[Array, "T B DD"]:
    """Returns [x_{t-1}; x_t] of every step (DD = 2D); `first` is the input before all of them."""
    return jnp.concatenate([jnp.concatenate([first[None], xs[:-1]]), xs], axis=-1)
