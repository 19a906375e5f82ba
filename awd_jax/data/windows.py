"""A token stream as parallel streams, and the windows of backpropagation through time in them."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from awd_jax.batches import Counts, Window
from awd_jax.data.streams import stream
from awd_jax.errors import InputError

BUCKET = 8
SHORTEST = 5  # tokens of a training window, but for the last of an epoch
DEVIATION = 5  # standard deviation of a training window's length


class Windows(NamedTuple):
    """The windows of an epoch: inputs are the rows [start, start + length), targets one later."""

    starts: Int[np.ndarray, "N"]
    lengths: Int[np.ndarray, "N"]


@dataclasses.dataclass(frozen=True)
class WindowPlan:
    """The windows of an epoch over a stream: a `Plan` of `Window`s."""

    stream: Int32[np.ndarray, "rows B"]  # or the columns of a part of the sequences
    num_sequences: int  # of the whole batch
    windows: Windows
    padded_lengths: Int[np.ndarray, "N"]  # T of each window
    bptt: int  # the length that has the rate of the config

    def __len__(self) -> int:
        return len(self.windows.starts)

    def __getitem__(self, position: int) -> Window:
        start, length = (int(a[position]) for a in self.windows)
        shape = (int(self.padded_lengths[position]), self.stream.shape[1])
        inputs, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        weights = np.zeros(shape, np.float32)
        inputs[:length] = self.stream[start : start + length]
        targets[:length] = self.stream[start + 1 : start + length + 1]
        weights[:length] = 1
        counts = Counts(
            np.float32(length * self.num_sequences), np.float32((length - 1) * self.num_sequences)
        )
        return Window(inputs, targets, weights, np.int32(length), counts)

    def __iter__(self) -> Iterator[Window]:
        return (self[position] for position in range(len(self)))

    def part(self, columns: slice) -> "WindowPlan":
        """The same windows of these sequences alone: a view, so no others' tokens are read."""
        return dataclasses.replace(self, stream=self.stream[:, columns])

    @property
    def num_tokens(self) -> int:
        """Targets of the whole epoch, of all sequences."""
        return (len(self.stream) - 1) * self.num_sequences

    def rate_factor(self, position: int) -> float:
        """The rate of a window is proportional to its length (Merity et al. 2018, 4.1)."""
        return int(self.windows.lengths[position]) / self.bptt


def batchify(
    tokens: Int32[np.ndarray, "N"], batch_size: int, name: str = "batch size"
) -> Int32[np.ndarray, "rows B"]:
    """Cuts tokens into B contiguous streams, one a column; the remainder is dropped.

    Returns a view: a process that takes only its columns reads only their tokens.

    Raises:
      InputError: B is not positive, or the streams have fewer than two tokens; it calls B `name`.
    """
    if batch_size < 1:
        raise InputError(f"{name} {batch_size}", "must be 1 or more", "raise it")
    num_rows = len(tokens) // batch_size
    if num_rows < 2:
        raise InputError(
            f"{name} {batch_size}",
            f"{len(tokens):,} tokens are shorter than a batch of an input and a target each",
            "make it smaller, or the text longer",
        )
    return tokens[: num_rows * batch_size].reshape(batch_size, num_rows).T


def training_plan(
    stream: Int32[np.ndarray, "rows B"], bptt: int, seed: int, epoch: int
) -> WindowPlan:
    """The windows of a training epoch, of random lengths: see `epoch_windows`.

    Args:
      stream: what `batchify` gives.
      bptt: mean length of a window.
      seed: with the epoch, all that the windows follow from.
      epoch: from 1 on.
    """
    windows = epoch_windows(len(stream), bptt, seed, epoch)
    # Memory must follow the text: a flag may ask for windows far longer than it.
    longest = min(bptt, len(stream) - 1)
    padded = np.array([padded_length(length, longest) for length in windows.lengths.tolist()])
    return WindowPlan(stream, stream.shape[1], windows, padded, bptt)


def even_plan(
    stream: Int32[np.ndarray, "rows B"],
    length: int,
    padded_length: int | None = None,
    bptt: int | None = None,
) -> WindowPlan:
    """Windows of one length, all padded alike: for one program.

    Args:
      stream: what `batchify` returns.
      length: of a window; the last one may be shorter.
      padded_length: T; None for `length`.
      bptt: the length that has the rate of the config; None for `length`.
    """
    windows = fixed_windows(len(stream), length)
    padded = np.full(len(windows.starts), padded_length or length)
    return WindowPlan(stream, stream.shape[1], windows, padded, bptt or length)


def epoch_windows(num_rows: int, bptt: int, seed: int, epoch: int) -> Windows:
    """The windows of a training epoch; all follow from (seed, epoch).

    The base length is bptt with probability 0.95, else bptt / 2; the length is
    max(5, int(N(base, 5))). The last window is cut to what is left, so it may be as short as 1.
    Rows 0 .. num_rows - 2 are an input, rows 1 .. num_rows - 1 a target, exactly once each.
    Merity et al. 2018, section 4.1.

    Raises:
      InputError: bptt is not positive, or seed is negative.
    """
    if bptt < 1:
        raise InputError(f"bptt {bptt}", "must be 1 or more", "raise it")
    random = stream(seed, epoch)
    lengths: list[int] = []
    left = num_rows - 1
    while left > 0:
        base = bptt if random.random_sample() < 0.95 else bptt / 2
        length = min(max(SHORTEST, int(random.normal(base, DEVIATION))), left)
        lengths.append(length)
        left -= length
    return _consecutive(lengths)


def fixed_windows(num_rows: int, length: int) -> Windows:
    """Windows of one length, for evaluation; the last is cut to what is left.

    Raises:
      InputError: length is not positive.
    """
    if length < 1:
        raise InputError(f"window length {length}", "must be 1 or more", "raise it")
    full, rest = divmod(num_rows - 1, length)
    return _consecutive([length] * full + [rest] * (rest > 0))


def bucket(length: int) -> int:
    """The next multiple of 8: so few lengths mean few programs to compile."""
    return -(-length // BUCKET) * BUCKET


def padded_length(length: int, bptt: int) -> int:
    """What a training window is padded to: a dozen lengths at most, programs to compile.

    Lengths crowd around bptt / 2 and bptt. Only there each `bucket` is of use: a
    rare shorter one is padded up to the crowd above it.
    """
    for mean in (bptt // 2, bptt):
        if length <= mean + 3 * DEVIATION:
            return bucket(max(length, mean - 2 * DEVIATION))
    return bucket(length)


def _consecutive(lengths: list[int]) -> Windows:
    ends = np.cumsum(lengths, dtype=np.int64)
    return Windows(ends - lengths, np.asarray(lengths, np.int64))
