"""The neural Turing machine of Graves, Wayne and Danihelka (2014, arXiv 1410.5401).

Its controller, an LSTM, has a memory of N rows, which heads read and write: see `addressing`.

The order of a step, its bounds and its start are those of Collier and Beel (2018, arXiv
1807.08518), with which training is stable: all heads see the old memory, which starts as a
constant; the first weights and reads are learned.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from awd_jax.core.addressing import Address, address, read, write
from awd_jax.core.backends import Backend
from awd_jax.core.draws import uniform
from awd_jax.core.gated import GatedParams, inputs_part
from awd_jax.core.lstm import LSTM, LSTMState, lstm
from awd_jax.core.product import affine
from awd_jax.core.recurrence import Cell, Length, by_scan

FIRST_LOGIT = 6.0  # of the row where heads start: three quarters of their weight, of 128 rows
FIRST_MEMORY = 1e-6  # every entry before the first step; far below the rows that are written
LIMIT = 20.0  # of what the controller tells the heads: a softmax of larger numbers saturates


class NTMParams(NamedTuple):
    """The parameters: P numbers go to the heads, A = 2R of them; the controller has C features."""

    controller: GatedParams  # w_h [H, 4C] reads its h and what the heads have read
    w_heads: Float[Array, "C P"]
    b_heads: Float[Array, "P"]
    first_weights: Float[Array, "A N"]  # before their softmax
    first_reads: Float[Array, "R W"]  # before their tanh


class NTMState(NamedTuple):
    """The state: zero weights stand for those before the first step, whatever is learned."""

    h: Float[Array, "*T B H"]  # of the controller, and what the heads have read
    c: Float[Array, "*T B C"]  # of the controller; as all below, at least float32
    memory: Float[Array, "*T B N W"]
    weights: Float[Array, "*T B A N"]  # of the read heads, then of the write heads


class Sizes(NamedTuple):
    """The sizes of a memory and its heads."""

    rows: int  # N
    dim: int  # W
    heads: int  # R
    max_shift: int  # S

    @property
    def address(self) -> tuple[int, ...]:
        """Of the parts of an `Address`."""
        return (self.dim, 1, 1, 2 * self.max_shift + 1, 1)

    def controller_dim(self, hidden_dim: int) -> int:
        """C of a layer of H features.

        Raises:
          ValueError: the heads read as many features, or more.
        """
        num_read = self.heads * self.dim
        if hidden_dim <= num_read:
            raise ValueError(
                f"{hidden_dim} features: must be more than the {num_read} that the ntm reads"
            )
        return hidden_dim - num_read


def ntm(
    backend: Backend,
    memory_rows: int,
    memory_dim: int,
    memory_heads: int = 1,
    max_shift: int = 1,
    forget_gate_bias: float = 0.0,
) -> Cell:
    """Returns the neural Turing machine.

    Of the H features of a layer, the last `memory_heads * memory_dim` are what its read heads read
    at that step; the others are the controller's. So whatever reads the layer, reads both.

    Args:
      backend: scan, or auto, which means it: each step takes many products in sequence.
      memory_rows: N.
      memory_dim: W, the features of a row.
      memory_heads: R, the number of read heads, and that of write heads.
      max_shift: S, the most rows by which a head moves in a step.
      forget_gate_bias: of the controller, as in `lstm`.

    Raises:
      ValueError: backend is fast, cudnn or associative; or, in `init`, H leaves no feature to the
        controller.
    """
    if backend not in ("auto", "scan"):
        raise ValueError(f"backend {backend}: the ntm has scan only")
    sizes = Sizes(memory_rows, memory_dim, memory_heads, max_shift)
    # The gradient computes each step again: to read what it left costs more, most of all memories.
    step = jax.checkpoint(functools.partial(_step, sizes), prevent_cse=False)
    run = by_scan(lambda params, xs: inputs_part(params.controller, xs), step)

    def unroll(
        params: NTMParams,
        state: NTMState,
        xs: Float[Array, "T B D"],
        length: Length,
        state_mask: Float[Array, "B H"] | None = None,
    ) -> tuple[Float[Array, "T B H"], NTMState]:
        return run(params, begin(params, state), xs, length, state_mask)

    return Cell(
        functools.partial(_init, sizes=sizes, forget_gate_bias=forget_gate_bias),
        functools.partial(_initial_state, sizes=sizes),
        unroll,
    )


def _init(
    key: Key[Array, ""], input_dim: int, hidden_dim: int, sizes: Sizes, forget_gate_bias: float
) -> NTMParams:
    """Draws the controller as an LSTM that reads x and what the heads have read."""
    controller_dim = sizes.controller_dim(hidden_dim)
    keys = jax.random.split(key, 3)
    num_inputs = input_dim + sizes.heads * sizes.dim
    controller = lstm("scan", forget_gate_bias).init(keys[0], num_inputs, controller_dim)
    w_x, w_reads = jnp.split(controller.w_x, [input_dim])
    w_h = jnp.concatenate([controller.w_h, w_reads])
    num_told = 2 * sizes.heads * (sum(sizes.address) + sizes.dim)
    return NTMParams(
        controller._replace(w_x=w_x, w_h=w_h),
        uniform(keys[1], (controller_dim, num_told), controller_dim),
        jnp.zeros(num_told),
        # All heads start at the first row: by moving alike, one then finds what another wrote.
        # Heads that weigh all rows of a constant memory alike would do so for ever.
        FIRST_LOGIT * jnp.eye(1, sizes.rows).repeat(2 * sizes.heads, axis=0),
        jax.random.normal(keys[2], (sizes.heads, sizes.dim)),
    )


def _initial_state(
    batch_size: int,
    input_dim: int,
    hidden_dim: int,
    dtype: DTypeLike | None = None,
    *,
    sizes: Sizes,
) -> NTMState:
    """Returns the state before the first step: zeros, h in this dtype; `begin` has the start."""
    del input_dim
    return NTMState(
        jnp.zeros((batch_size, hidden_dim), dtype),
        jnp.zeros((batch_size, sizes.controller_dim(hidden_dim))),
        jnp.zeros((batch_size, sizes.rows, sizes.dim)),
        jnp.zeros((batch_size, 2 * sizes.heads, sizes.rows)),
    )


def _step(
    sizes: Sizes,
    params: NTMParams,
    state: NTMState,
    h: Float[Array, "B H"],
    from_input: Float[Array, "B G"],
) -> NTMState:
    """Returns the next state: the controller, the weights, then reads and writes."""
    from_h = affine(h, params.controller.w_h, params.controller.b_h)
    gates = LSTM.activate(tuple(jnp.split(from_input + from_h, 4, axis=-1)), ())
    h_now, c = LSTM.update(LSTMState(h, state.c), gates)

    told = affine(h_now.astype(h.dtype), params.w_heads, params.b_heads)
    told = jnp.clip(told, -LIMIT, LIMIT)
    where, what = jnp.split(told, [2 * sizes.heads * sum(sizes.address)], axis=-1)
    where = where.reshape(h.shape[0], 2 * sizes.heads, sum(sizes.address))
    weights = address(_as_address(sizes, where), state.memory, state.weights)
    read_weights, write_weights = jnp.split(weights, 2, axis=1)
    reads = read(state.memory, read_weights)
    erase, add = jnp.split(what.reshape(h.shape[0], sizes.heads, 2 * sizes.dim), 2, axis=-1)
    erase, add = jax.nn.sigmoid(erase), jnp.tanh(add)
    memory = state.memory
    for r in range(sizes.heads):
        memory = write(memory, write_weights[:, r], erase[:, r], add[:, r])
    read_features = reads.reshape(h.shape[0], sizes.heads * sizes.dim)
    return NTMState(jnp.concatenate([h_now, read_features], axis=-1), c, memory, weights)


def _as_address(sizes: Sizes, told: Float[Array, "B A P"]) -> Address:
    """Returns what numbers from the controller mean, each within its bounds."""
    ends = [sum(sizes.address[: i + 1]) for i in range(4)]
    key, strength, gate, shift, sharpness = jnp.split(told, ends, axis=-1)
    return Address(
        jnp.tanh(key),
        jax.nn.softplus(strength),
        jax.nn.sigmoid(gate),
        jax.nn.softmax(shift, axis=-1),
        1 + jax.nn.softplus(sharpness),
    )


def begin(params: NTMParams, state: NTMState) -> NTMState:
    """Returns a state with the learned start of those sequences that have not begun."""
    is_new = jnp.sum(state.weights, axis=(1, 2)) == 0
    reads = jnp.tanh(params.first_reads).ravel()
    start = NTMState(
        jnp.pad(reads, (state.h.shape[1] - reads.size, 0)),
        jnp.zeros(state.c.shape[1:]),
        jnp.full(state.memory.shape[1:], FIRST_MEMORY),
        jax.nn.softmax(params.first_weights, axis=-1),
    )

    def put(old: Array, first: Array) -> Array:
        first = old + first.astype(old.dtype)[None]  # the old is 0, or an h that is handed over
        return jnp.where(jnp.expand_dims(is_new, range(1, old.ndim)), first, old)

    return jax.tree.map(put, state, start)
