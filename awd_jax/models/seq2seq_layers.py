"""The layers of a model from sequence to sequence, and their widths."""

from typing import Any, NamedTuple

from jax.typing import DTypeLike

from awd_jax.core.bidirectional import bidirectional
from awd_jax.core.cells import make_cells
from awd_jax.core.recurrence import Cell, State, residual


class Stack(NamedTuple):
    """The layers of one side."""

    cells: tuple[Cell, ...]
    dims: tuple[tuple[int, int], ...]  # (D, H) of each

    def initial_states(self, batch_size: int, dtype: DTypeLike | None) -> tuple[State, ...]:
        """Returns the states before the first step: zeros."""
        return tuple(
            cell.initial_state(batch_size, d, h, dtype)
            for cell, (d, h) in zip(self.cells, self.dims, strict=True)
        )


class Layers(NamedTuple):
    """The layers of both sides."""

    encoder: Stack
    decoder: Stack
    step_cells: tuple[Cell, ...]  # of the decoder, with a backend for single steps
    memory_dim: int  # width of the encoder's outputs, M
    fed_dim: int  # of what a decoder's step feeds to the next one; 0 if nothing
    feature_dim: int  # of what the softmax reads, D of `Features`


def make_layers(model: Any) -> Layers:
    """Returns the layers that the fields of a `Seq2Seq` describe."""
    hidden_dim = model.hidden_dim
    cells = make_cells(model, model.encoder_layers)
    num_turned = {"none": 0, "bottom": 1, "all": len(cells)}[model.bidirectional]
    cells = (*map(bidirectional, cells[:num_turned]), *cells[num_turned:])
    output_dims = [cell.output_dim(hidden_dim) for cell in cells]
    inputs = (model.embed_dim, *output_dims[:-1])
    encoder = Stack(_with_residuals(model, cells), tuple((d, hidden_dim) for d in inputs))

    memory_dim = output_dims[-1]
    state_dim = model.attended_dim or hidden_dim
    fed_dim = {"input_feeding": state_dim, "gnmt": memory_dim}.get(model.placement, 0)
    above = hidden_dim + memory_dim * (model.placement == "gnmt")
    bottom = model.embed_dim + memory_dim * model.peeky + fed_dim
    inputs = (bottom, *(above,) * (model.decoder_layers - 1))
    on_top = {
        "softmax": hidden_dim + memory_dim * (model.attention != "none"),
        "gnmt": hidden_dim,
        "luong": state_dim,
        "input_feeding": state_dim,
    }
    decoder, steps = (
        _with_residuals(model, make_cells(model, model.decoder_layers, backend=backend))
        for backend in (model.backend, "scan")
    )
    return Layers(
        encoder,
        Stack(decoder, tuple((d, hidden_dim) for d in inputs)),
        steps,
        memory_dim,
        fed_dim,
        on_top[model.placement] + memory_dim * model.peeky,
    )


def _with_residuals(model: Any, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    first = model.residual_from
    return tuple(residual(c) if 0 < first <= i else c for i, c in enumerate(cells, 1))
