"""Log-probability of every token of every line of a text."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Int32

from awd_jax.core import losses
from awd_jax.core.cells import LSTMState
from awd_jax.data.text import Text, text_lines
from awd_jax.data.vocabulary import EOS, UNK, Vocabulary
from awd_jax.errors import InputError
from awd_jax.tasks.model_file import BestModel

WINDOW = 64  # tokens in a row that a compiled step scores at most
CHUNK = 1 << 16  # tokens that are held at once, but for a longer line
Carry = tuple[LSTMState, ...]


class Line(NamedTuple):
    """One line of a text, with its `<eos>`."""

    tokens: list[str]
    ids: Int32[np.ndarray, "N"]
    num_unk: int  # tokens outside the vocabulary, read as `<unk>`


class ScoredLine(NamedTuple):
    """A line and the log-probability of each of its tokens, in nats."""

    line: Line
    log_probs: Float32[np.ndarray, "N"]


def read_lines(text: Text, vocabulary: Vocabulary) -> Iterator[Line]:
    """The lines of a text; reads one block at a time.

    Raises:
      InputError: a token is outside a vocabulary without `<unk>`, or the text cannot be read.
    """
    for number, tokens in enumerate(text_lines(text), 1):
        tokens = [*tokens, EOS]
        ids = vocabulary.lookup(tokens)
        outside = np.flatnonzero(ids < 0)
        if outside.size:
            if vocabulary.unk_id is None:
                raise InputError(
                    f"{text.name}, line {number}: token {tokens[outside[0]]!r}",
                    f"is not among the {len(vocabulary):,} of the vocabulary, which has no {UNK}",
                    "take it out of the text",
                )
            ids[outside] = vocabulary.unk_id
        yield Line(tokens, ids, outside.size)


class Scorer:
    """Scores lines with a model, each by itself or each after all before it."""

    def __init__(self, best: BestModel) -> None:
        self._model = best.model
        self._params = best.params
        self._eos = best.vocabulary.eos_id

        def step(
            params: optax.Params,
            carry: Carry,
            inputs: Int[Array, "T B"],
            targets: Int[Array, "T B"],
            length: Int[Array, ""],
        ) -> tuple[Carry, Float[Array, "T B"]]:
            logits, output = best.model.forward(params, inputs, carry, None, length)
            return output.carry, -losses.token_nll(logits, targets)

        self._step = jax.jit(step, donate_argnums=1)

    def score_apart(self, lines: Iterator[Line], batch_size: int) -> Iterator[ScoredLine]:
        """Every line as the first of a text; in the order given.

        Lines of about the same length are scored side by side.
        """
        for chunk in _chunks(lines):
            log_probs: list[np.ndarray] = [np.empty(0)] * len(chunk)
            rising = np.argsort([len(line.ids) for line in chunk], kind="stable")
            # Not many more columns than lines, whatever is asked for; and few widths.
            width = min(batch_size, 1 << (len(chunk) - 1).bit_length())
            for start in range(0, len(chunk), width):
                group = rising[start : start + width]
                for i, found in zip(
                    group, self._score_batch([chunk[i].ids for i in group], width), strict=True
                ):
                    log_probs[i] = found
            yield from map(ScoredLine, chunk, log_probs)

    def score_in_order(self, lines: Iterator[Line]) -> Iterator[ScoredLine]:
        """Every line after all lines before it."""
        carry = self._model.initial_carry(1)
        for chunk in _chunks(lines):
            ids = np.concatenate([line.ids for line in chunk])
            inputs = np.concatenate([[self._eos], ids[:-1]]).astype(np.int32)  # every line ends so
            carry, log_probs = self._score_columns(carry, inputs[:, None], ids[:, None])
            ends = np.cumsum([len(line.ids) for line in chunk])
            yield from map(ScoredLine, chunk, np.split(log_probs[:, 0], ends[:-1]))

    def _score_batch(self, lines: list[np.ndarray], batch_size: int) -> list[np.ndarray]:
        longest = max(map(len, lines))
        targets = np.zeros((longest, batch_size), np.int32)
        for column, ids in enumerate(lines):
            targets[: len(ids), column] = ids
        inputs = np.concatenate([np.full((1, batch_size), self._eos, np.int32), targets[:-1]])
        _, log_probs = self._score_columns(self._model.initial_carry(batch_size), inputs, targets)
        return [log_probs[: len(ids), column] for column, ids in enumerate(lines)]

    def _score_columns(
        self, carry: Carry, inputs: np.ndarray, targets: np.ndarray
    ) -> tuple[Carry, Float32[np.ndarray, "T B"]]:
        """All rows, window after window; few window lengths, so few programs."""
        found = []
        for start in range(0, len(inputs), WINDOW):
            length = min(WINDOW, len(inputs) - start)
            pad = ((0, max(8, 1 << (length - 1).bit_length()) - length), (0, 0))
            carry, log_probs = self._step(
                self._params,
                carry,
                np.pad(inputs[start : start + length], pad),
                np.pad(targets[start : start + length], pad),
                np.int32(length),
            )
            found.append((log_probs, length))
        return carry, np.concatenate([np.asarray(log_probs)[:n] for log_probs, n in found])


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    num_tokens = 0
    for line in lines:
        chunk.append(line)
        num_tokens += len(line.ids)
        if num_tokens >= CHUNK:
            yield chunk
            chunk, num_tokens = [], 0
    if chunk:
        yield chunk
