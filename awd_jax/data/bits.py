"""Exercises of bits, which are generated: those of the neural Turing machine.

A sequence shows random vectors of bits, then marks, and then asks for an answer at steps whose
inputs are 0 (Graves, Wayne and Danihelka 2014, arXiv 1410.5401, section 4). Each kind of mark has a
channel of its own.

| exercise | shows | answer |
|---|---|---|
| copy | n vectors of 8 bits, an end | the n vectors |
| repeat_copy | n vectors of 8 bits, an end with a number r | the n vectors r times, an end |
| associative_recall | n items of 3 vectors of 6 bits, one of the items again | the item after it |
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from awd_jax.batches import Bits, Counts
from awd_jax.data.streams import stream
from awd_jax.data.windows import BUCKET

Vectors = Float32[np.ndarray, "_ B _"]
ITEM = 3  # vectors of an item
MOST_PROGRAMS = 12  # of a run, one for each T


class Size(NamedTuple):
    """The size of a sequence."""

    length: int  # vectors or items that it shows
    repeats: int


class Exercise(NamedTuple):
    """What a kind of sequence shows, and what it asks for."""

    inputs: tuple[str, ...]  # the channels that it shows
    targets: tuple[str, ...]  # the channels that it asks for
    num_steps: Callable[[Size], tuple[int, int]]  # that show, and that ask
    # (stream, size, the most repeats, B) to what is shown and what is asked for
    draw: Callable[[np.random.RandomState, Size, int, int], tuple[Vectors, Vectors]]
    least: int = 1  # length


def _copy(
    random: np.random.RandomState, size: Size, max_repeats: int, batch_size: int
) -> tuple[Vectors, Vectors]:
    del max_repeats
    vectors = _bits(random, size.length, batch_size, 8)
    return _ended(vectors, 1.0), vectors


def _repeat_copy(
    random: np.random.RandomState, size: Size, max_repeats: int, batch_size: int
) -> tuple[Vectors, Vectors]:
    vectors = _bits(random, size.length, batch_size, 8)
    # The number has mean 0 and variance 1 over all of them, as in the paper.
    deviation = math.sqrt((max_repeats**2 - 1) / 12) or 1.0
    number = (size.repeats - (max_repeats + 1) / 2) / deviation
    answer = _ended(np.tile(vectors, (size.repeats, 1, 1)), 1.0)
    return _ended(vectors, 1.0, number), answer


def _associative_recall(
    random: np.random.RandomState, size: Size, max_repeats: int, batch_size: int
) -> tuple[Vectors, Vectors]:
    del max_repeats
    items = _bits(random, size.length * ITEM, batch_size, 6)
    items = items.reshape(size.length, ITEM, batch_size, 6)
    asked = random.randint(size.length - 1, size=batch_size)
    rows = np.arange(batch_size)
    query, answer = (np.moveaxis(items[asked + i, :, rows], 0, 1) for i in (0, 1))
    shown = np.zeros((4 * size.length + 5, batch_size, 8), np.float32)
    marked = shown[: 4 * size.length].reshape(size.length, 1 + ITEM, batch_size, 8)
    marked[:, 0, :, 6] = 1  # before each item
    marked[:, 1:, :, :6] = items
    shown[[-5, -1], :, 7] = 1  # around the query
    shown[-4:-1, :, :6] = query
    return shown, answer


def _bits(random: np.random.RandomState, length: int, batch_size: int, dim: int) -> Vectors:
    return random.randint(2, size=(length, batch_size, dim)).astype(np.float32)


def _ended(vectors: Vectors, *marks: float) -> Vectors:
    """Returns vectors and one more, which alone has these marks, each in a channel of its own."""
    wide = np.pad(vectors, ((0, 1), (0, 0), (0, len(marks))))
    wide[-1, :, -len(marks) :] = marks
    return wide


def _channels(num_bits: int, *marks: str) -> tuple[str, ...]:
    return (*(f"bit{i}" for i in range(num_bits)), *marks)


EXERCISES = {
    "copy": Exercise(
        _channels(8, "end"), _channels(8), lambda size: (size.length + 1, size.length), _copy
    ),
    "repeat_copy": Exercise(
        _channels(8, "end", "number"),
        _channels(8, "end"),
        lambda size: (size.length + 1, size.length * size.repeats + 1),
        _repeat_copy,
    ),
    "associative_recall": Exercise(
        _channels(6, "item", "query"),
        _channels(6),
        lambda size: ((1 + ITEM) * size.length + 2 + ITEM, ITEM),
        _associative_recall,
        least=2,
    ),
}


@dataclasses.dataclass(frozen=True)
class BitPlan:
    """Batches of an exercise, all sequences of each of one size: a `Plan` of `Bits`."""

    exercise: Exercise
    seeds: tuple[int, ...]  # all that the batches follow from, each with its position
    sizes: Int[np.ndarray, "N 2"]  # `Size` of each batch
    largest: Size  # that may occur
    num_sequences: int  # of the whole batch
    columns: range  # which of them

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, position: int) -> Bits:
        size = Size(*self.sizes[position].tolist())
        random = stream(*self.seeds, position + 1)
        whole = self.exercise.draw(random, size, self.largest.repeats, self.num_sequences)
        own = slice(self.columns.start, self.columns.stop)
        shown, answer = (vectors[:, own] for vectors in whole)
        start, end = len(shown), len(shown) + len(answer)
        shape = (self._padded(end), shown.shape[1])
        inputs = np.zeros((*shape, shown.shape[2]), np.float32)
        targets = np.zeros((*shape, answer.shape[2]), np.float32)
        weights = np.zeros(shape, np.float32)
        inputs[:start], targets[start:end], weights[start:end] = shown, answer, 1
        num_tokens = len(answer) * self.num_sequences
        counts = Counts(np.float32(num_tokens), np.float32(num_tokens))  # none is the first step
        return Bits(inputs, targets, weights, counts)

    def __iter__(self) -> Iterator[Bits]:
        return (self[position] for position in range(len(self)))

    def part(self, columns: slice) -> "BitPlan":
        """The same batches with these sequences alone; counts stay those of the whole batch."""
        return dataclasses.replace(self, columns=self.columns[columns])

    @property
    def num_tokens(self) -> int:
        """Number of steps of the whole epoch that are asked for, of all sequences."""
        asked = (self.exercise.num_steps(Size(*size))[1] for size in self.sizes.tolist())
        return sum(asked) * self.num_sequences

    def rate_factor(self, position: int) -> float:
        """Batches of every size have the rate of the config."""
        return 1.0

    def _padded(self, num_steps: int) -> int:
        """Returns T: few lengths, because each is a program to compile."""
        longest = sum(self.exercise.num_steps(self.largest))
        step = BUCKET * math.ceil(longest / (BUCKET * MOST_PROGRAMS))
        return math.ceil(num_steps / step) * step


def training_plan(
    name: str, lengths: range, max_repeats: int, size: tuple[int, int], seed: int, epoch: int
) -> BitPlan:
    """Returns the batches of a training epoch, which follow from (seed, epoch).

    Args:
      name: of EXERCISES.
      lengths: of which each batch has one, drawn evenly.
      max_repeats: likewise for repeats, from 1 on; only of repeat_copy.
      size: number of batches, and sequences in a batch.
      seed: with the epoch, all that the batches follow from.
      epoch: from 1 on.

    Raises:
      InputError: the seed is negative.
    """
    random, num_batches = stream(seed, epoch), size[0]
    drawn = random.randint(lengths.start, lengths.stop, size=num_batches)
    return _plan(name, (seed, epoch), drawn, lengths[-1], max_repeats, size, random)


def even_plan(
    name: str, lengths: range, max_repeats: int, size: tuple[int, int], split: int
) -> BitPlan:
    """Returns batches for evaluation: the lengths in turn; the number of the split is the seed."""
    random = stream(0, 0, split)
    in_turn = lengths.start + np.arange(size[0]) % len(lengths)
    return _plan(name, (0, 0, split), in_turn, lengths[-1], max_repeats, size, random)


def _plan(
    name: str,
    seeds: tuple[int, ...],
    lengths: Int[np.ndarray, "N"],
    max_length: int,
    max_repeats: int,
    size: tuple[int, int],
    random: np.random.RandomState,
) -> BitPlan:
    repeats = random.randint(1, max(max_repeats, 1) + 1, size=len(lengths))
    sizes = np.stack([lengths, repeats], axis=1)
    largest = Size(max_length, max_repeats)
    return BitPlan(EXERCISES[name], seeds, sizes, largest, size[1], range(size[1]))
