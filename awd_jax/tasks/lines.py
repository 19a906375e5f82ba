"""Scores every token of every line of a text."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Int32

from awd_jax.batches import Window
from awd_jax.data.text import Text, text_lines
from awd_jax.data.vocabulary import EOS, UNK, Vocabulary
from awd_jax.data.windows import bucket, even_plan
from awd_jax.errors import InputError
from awd_jax.models.contract import Carry
from awd_jax.tasks.model_file import BestModel

WINDOW = 64  # longest window of a compiled step, in tokens
BLOCK = 1 << 16  # tokens held in memory at once; a longer line is still held whole


class Line(NamedTuple):
    """One line of a text; in a language model's, with its `<eos>`."""

    tokens: list[str]
    ids: Int32[np.ndarray, "N"]
    num_unk: int  # tokens outside the vocabulary, read as `<unk>`


class ScoredLine(NamedTuple):
    """A line and the log-probability of each of its tokens, in nats."""

    line: Line
    log_probs: Float32[np.ndarray, "N"]


def read_lines(text: Text, vocabulary: Vocabulary) -> Iterator[Line]:
    """Yields the lines of a text; reads one block at a time.

    Raises:
      InputError: a token is outside a vocabulary without `<unk>`, or the text cannot be read.
    """
    for number, tokens in enumerate(text_lines(text), 1):
        yield encode_line(f"{text.name}, line {number}", [*tokens, EOS], vocabulary)


def encode_line(place: str, tokens: list[str], vocabulary: Vocabulary) -> Line:
    """Returns a line of these tokens.

    Raises:
      InputError: a token is outside a vocabulary without `<unk>`; it names the place.
    """
    ids = vocabulary.lookup(tokens)
    num_unk = vocabulary.replace_outside(
        ids,
        lambda index: InputError(
            f"{place}: token {tokens[index]!r}",
            f"is not among the {len(vocabulary):,} of the vocabulary, which has no {UNK}",
            "take it out of the text",
        ),
    )
    return Line(tokens, ids, num_unk)


def similar_lengths(lines: list[Line], batch_size: int) -> tuple[int, list[Int[np.ndarray, "n"]]]:
    """Returns the columns of a batch, and the indices of the lines of each, shortest first."""
    rising = np.argsort([len(line.ids) for line in lines], kind="stable")
    # A power of two: not many more columns than lines, and few widths to compile.
    width = min(batch_size, 1 << (len(lines) - 1).bit_length())
    return width, [rising[start : start + width] for start in range(0, len(lines), width)]


class Scorer:
    """Scores lines with a model, each on its own or each after all previous lines."""

    def __init__(self, best: BestModel) -> None:
        self._model = best.model
        self._params = best.params
        self._eos = best.vocabulary.eos_id

        def step(
            params: optax.Params, carry: Carry, window: Window
        ) -> tuple[Carry, Float[Array, "T B"]]:
            scored = best.model.score(params, window, carry)
            return scored.carry, -scored.token_nll

        self._step = jax.jit(step, donate_argnums=1)

    def score_apart(self, lines: Iterator[Line], batch_size: int) -> Iterator[ScoredLine]:
        """Scores every line as the first of a text; yields them in the given order.

        Lines of similar length are scored in one batch.
        """
        for block in blocks(lines):
            log_probs: list[np.ndarray] = [np.empty(0)] * len(block)
            width, groups = similar_lengths(block, batch_size)
            for group in groups:
                for i, found in zip(
                    group, self._score_batch([block[i].ids for i in group], width), strict=True
                ):
                    log_probs[i] = found
            yield from map(ScoredLine, block, log_probs)

    def score_in_order(self, lines: Iterator[Line]) -> Iterator[ScoredLine]:
        """Scores every line after all previous lines."""
        carry = self._model.initial_carry(1)
        for block in blocks(lines):
            ids = np.concatenate([line.ids for line in block])
            carry, log_probs = self._score_columns(carry, ids[:, None])
            ends = np.cumsum([len(line.ids) for line in block])
            yield from map(ScoredLine, block, np.split(log_probs[:, 0], ends[:-1]))

    def _score_batch(self, lines: list[np.ndarray], batch_size: int) -> list[np.ndarray]:
        longest = max(map(len, lines))
        targets = np.zeros((longest, batch_size), np.int32)
        for column, ids in enumerate(lines):
            targets[: len(ids), column] = ids
        _, log_probs = self._score_columns(self._model.initial_carry(batch_size), targets)
        return [log_probs[: len(ids), column] for column, ids in enumerate(lines)]

    def _score_columns(
        self, carry: Carry, targets: Int32[np.ndarray, "T B"]
    ) -> tuple[Carry, Float32[np.ndarray, "T B"]]:
        """Scores all steps, window by window; each column starts after an `<eos>`."""
        eos = np.full_like(targets[:1], self._eos)
        found = []
        for window in even_plan(np.concatenate([eos, targets]), min(WINDOW, bucket(len(targets)))):
            carry, log_probs = self._step(self._params, carry, window)
            found.append((log_probs, window.length))
        return carry, np.concatenate([np.asarray(log_probs)[:n] for log_probs, n in found])


def blocks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yields lines by blocks of about BLOCK tokens."""
    block: list[Line] = []
    num_tokens = 0
    for line in lines:
        block.append(line)
        num_tokens += len(line.ids)
        if num_tokens >= BLOCK:
            yield block
            block, num_tokens = [], 0
    if block:
        yield block
