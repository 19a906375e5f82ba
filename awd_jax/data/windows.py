"""A token stream as parallel streams, and the windows of backpropagation through time in them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32

from awd_jax.errors import InputError

BUCKET = 8
SHORTEST = 5  # tokens of a training window, but for the last of an epoch
DEVIATION = 5  # standard deviation of a training window's length


class Windows(NamedTuple):
    """The windows of an epoch: inputs are the rows [start, start + length), targets one later."""

    starts: Int[np.ndarray, "N"]
    lengths: Int[np.ndarray, "N"]


class Batch(NamedTuple):
    """One window: targets are inputs one step later; weights 1 real, 0 padding."""

    inputs: Int32[np.ndarray, "T B"]
    targets: Int32[np.ndarray, "T B"]
    weights: Float32[np.ndarray, "T B"]


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
    if seed < 0:
        raise InputError(f"seed {seed}", "must not be negative", "use 0 or more")
    # Not default_rng: numpy freezes the streams of RandomState and SeedSequence only, and
    # a resumed run must draw the same windows whatever numpy it finds.
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, epoch])))
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


def window_batch(
    stream: Int32[np.ndarray, "rows B"],
    start: int,
    length: int,
    padded_length: int,
) -> Batch:
    """One window of a stream, padded with zeros to `padded_length`.

    Raises:
      ValueError: the window does not lie in the stream, or is longer than `padded_length`.
    """
    num_rows, batch_size = stream.shape
    shape = (padded_length, batch_size)
    if not (0 <= start < start + length < num_rows and length <= padded_length):
        raise ValueError(f"window {start}+{length} of {num_rows} rows, padded to {padded_length}")
    batch = Batch(np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    batch.inputs[:length] = stream[start : start + length]
    batch.targets[:length] = stream[start + 1 : start + length + 1]
    batch.weights[:length] = 1
    return batch


def _consecutive(lengths: list[int]) -> Windows:
    ends = np.cumsum(lengths, dtype=np.int64)
    return Windows(ends - lengths, np.asarray(lengths, np.int64))
