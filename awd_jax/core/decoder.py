"""A stack of cells that writes a target, and attends to the source while it does.

| placement of the attention | query | where the context goes |
|---|---|---|
| softmax | top layer | beside the top layer's output, to the softmax |
| luong | top layer | the attentional state tanh([context; h] @ w), to the softmax |
| input_feeding | top layer | as luong; the next step reads the attentional state as well |
| gnmt | bottom layer | all upper layers at the same step, and the bottom one at the next |

Luong, Pham and Manning 2015 (arXiv 1508.04025, sections 3.1 and 3.3); Wu et al. 2016 (arXiv
1609.08144, section 3), with the context of the same step, as in its public version.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from awd_jax.core import masks as dropout
from awd_jax.core.alignment import Alignment, Memory, attend, combine
from awd_jax.core.bidirectional import BothDirections
from awd_jax.core.recurrence import Cell, Params, State
from awd_jax.core.unroll import unroll_fed, unroll_stack

Placement = Literal["softmax", "luong", "input_feeding", "gnmt"]
HandOver = Literal["state", "h", "none"]


class Reading(NamedTuple):
    """A source that has been read, and the decoder after some steps of its target."""

    memory: Memory | None  # None without attention
    summary: Float[Array, "B M"] | None  # the encoder's last output; None if nothing reads it
    states: tuple[State, ...]
    fed: Float[Array, "B F"]  # what the last step feeds to the next one; F is 0 if nothing
    attended: Float[Array, "B S"] | None  # sum of the weights of attention so far


class Decoder(NamedTuple):
    """The parts of a decoder."""

    cells: Sequence[Cell]
    step_cells: Sequence[Cell]  # the same, with a backend for single steps
    alignment: Alignment | None
    placement: Placement


class DecoderParams(NamedTuple):
    """Their parameters."""

    layers: Sequence[Params]
    scores: Params = None  # of the alignment
    combine: Params = None  # of the attentional state


def hand_over(how: HandOver, fresh: Sequence[State], encoded: Sequence[State]) -> tuple[State, ...]:
    """Returns what the layers of a decoder start with.

    Layer i gets what layer i of the encoder ends with, of a deeper encoder its last layers: all of
    the state, as far as their shapes agree; or h alone. Of a layer in both directions that is the
    backward one (Bahdanau et al. 2015, appendix A.2.2). A layer beyond them starts afresh.
    """
    last = encoded[-len(fresh) :]
    given = [s.backward if isinstance(s, BothDirections) else s for s in last]
    states = list(fresh)
    for i, (ours, theirs) in enumerate(zip(fresh, given, strict=False)):
        if how == "h":
            states[i] = ours._replace(h=theirs.h)
        elif how == "state":
            states[i] = jax.tree.map(_handed, ours, theirs)
    return tuple(states)


def _handed(ours: Array, theirs: Array | None) -> Array:
    # A QRNN that reads two inputs starts with none where one that reads a single input ended.
    return ours if theirs is None or ours.shape != theirs.shape else theirs


def write(
    decoder: Decoder,
    params: DecoderParams,
    reading: Reading,
    xs: Float[Array, "T B D"],
    masks: dropout.Masks,
) -> tuple[Float[Array, "T B F"], Float[Array, "T B S"] | None, Reading]:
    """Returns the features of each step, the weights of its attention, and the reading after it.

    Args:
      decoder: its parts.
      params: their parameters.
      reading: before the first step.
      xs: embedded tokens.
      masks: of this batch.
    """
    memory, summary = reading.memory, reading.summary
    xs = dropout.apply(masks.input, xs)
    if summary is not None:
        xs = jnp.concatenate([xs, _at_all_steps(summary, xs)], axis=-1)
    masks = masks._replace(input=None)

    def look(queries: Float[Array, "T B H"]) -> tuple[Array, Array]:
        assert decoder.alignment is not None and memory is not None
        return attend(decoder.alignment, params.scores, queries, memory)

    weights, fed = None, reading.fed[None]
    match decoder.placement if decoder.alignment is not None else None:
        case "gnmt":
            features, fed, weights, states = _write_gnmt(decoder, params, reading, xs, masks, look)
        case "input_feeding":

            def feed(hs: Float[Array, "T B H"]) -> tuple[Array, Array]:
                contexts, weights = look(hs)
                return combine(params.combine, contexts, hs), weights

            _, features, weights, states = unroll_fed(
                decoder.step_cells, params.layers, reading.states, reading.fed, xs, masks, feed
            )
            fed = features
        case placement:
            cells = decoder.step_cells if len(xs) == 1 else decoder.cells
            found, states = unroll_stack(cells, params.layers, reading.states, xs, masks)
            features = found.raw_hs
            if placement is not None:
                contexts, weights = look(features)
                if placement == "luong":
                    features = combine(params.combine, contexts, features)
                else:
                    features = jnp.concatenate([contexts, features], axis=-1)
    attended = reading.attended
    if weights is not None and attended is not None:
        attended = attended + jnp.sum(weights, axis=0)
    if summary is not None:
        features = jnp.concatenate([_at_all_steps(summary, features), features], axis=-1)
    after = Reading(memory, summary, states, fed[-1], attended)
    return features, weights, after


def _write_gnmt(
    decoder: Decoder,
    params: DecoderParams,
    reading: Reading,
    xs: Float[Array, "T B D"],
    masks: dropout.Masks,
    look: Callable[..., Any],
) -> tuple[Array, Array, Array, tuple[State, ...]]:
    """Only the bottom layer waits for the attention; the upper ones take all steps at once."""
    below, above = masks._replace(layers=masks.layers[:1]), masks._replace(layers=masks.layers[1:])
    bottom, contexts, weights, first = unroll_fed(
        decoder.step_cells[:1], params.layers[:1], reading.states[:1], reading.fed, xs, below, look
    )
    cells = decoder.step_cells if len(xs) == 1 else decoder.cells
    top, rest = unroll_stack(
        cells[1:],
        params.layers[1:],
        reading.states[1:],
        bottom.dropped_hs,
        above,
        beside=contexts,
    )
    return top.raw_hs, contexts, weights, (*first, *rest)


def _at_all_steps(summary: Float[Array, "B M"], xs: Float[Array, "T B D"]) -> Float[Array, "T B M"]:
    return jnp.broadcast_to(summary.astype(xs.dtype), (len(xs), *summary.shape))
