"""How a layer is unrolled over time."""

import functools
from collections.abc import Callable
from typing import Literal

from awd_jax.core.fast import fast_gated
from awd_jax.core.gated import Equations, init_gated, scan_gated
from awd_jax.core.recurrence import Cell, Unroll

# All backends compute the same: `scan` is the definition, differentiated by jax; `fast` has a
# hand-written backward pass; `cudnn` is one call of the GPU library; `associative` goes through all
# steps at once, in a tree. `auto` is cudnn for a float32 LSTM without cap and state mask on a GPU,
# else fast if the cell has it, else scan; for a QRNN, see `qrnn`.
Backend = Literal["auto", "scan", "fast", "cudnn", "associative"]
OWNERS = {"cudnn": "LSTM without cap", "associative": "QRNN"}  # of what one cell alone has


def gated_cell(equations: Equations, initial_state: Callable, unroll: Unroll) -> Cell:
    """Returns the cell of these equations."""
    init = functools.partial(init_gated, num_gates=equations.num_gates)
    return Cell(init, initial_state, unroll)


def gated_unroll(equations: Equations, backend: Backend) -> Unroll:
    """Returns the unroll of these equations by `scan`, or else by `fast`.

    Raises:
      ValueError: backend is cudnn or associative.
    """
    if backend in OWNERS:
        raise ValueError(f"backend {backend}: only the {OWNERS[backend]} has it; use fast")
    return scan_gated(equations) if backend == "scan" else fast_gated(equations)
