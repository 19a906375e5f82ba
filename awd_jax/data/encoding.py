"""Turns the splits of a corpus into ids: counts their tokens, then encodes them block by block."""

import mmap
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from awd_jax.data.catalogue import Splits
from awd_jax.data.memory import available_bytes
from awd_jax.data.text import count_tokens, encode_text
from awd_jax.data.vocabulary import UNK, Vocabulary
from awd_jax.errors import InputError, one_line

ID_BYTES = 4


class Counted(NamedTuple):
    """The vocabulary of a corpus, and how many tokens each split has."""

    vocabulary: Vocabulary
    num_tokens: tuple[int, ...]


class Encoded(NamedTuple):
    """A corpus as ids, which cannot be changed.

    `num_outside` tells how many tokens of each split are outside the vocabulary.
    """

    vocabulary: Vocabulary
    ids: tuple[Int32[np.ndarray, "_"], ...]
    num_outside: tuple[int, ...]


def count_splits(splits: Splits, vocabulary: str) -> Counted:
    """Counts tokens, and builds the vocabulary of "train" or of "all".

    Raises:
      InputError: a text cannot be read.
    """
    counts = [count_tokens(text) for text in splits]
    num_tokens = tuple(c.total() for c in counts)
    total: Counter[str] = Counter()
    for c in counts if vocabulary == "all" else counts[:1]:
        total.update(c)
    if vocabulary == "train":
        total[UNK] += 0
    return Counted(Vocabulary.from_counts(total), num_tokens)


def write_ids(
    splits: Splits, counted: Counted, write: Callable[[memoryview], object]
) -> tuple[int, ...]:
    """Writes the ids of all splits one after another, in blocks; returns `num_outside` of each.

    Raises:
      InputError: a text cannot be read, is blank, or is not the one that was counted.
    """
    num_outside = [0] * len(splits)
    for index, (text, expected) in enumerate(zip(splits, counted.num_tokens, strict=True)):
        num_tokens = 0
        for block in encode_text(text, counted.vocabulary):
            num_tokens += len(block.ids)
            if num_tokens > expected:  # there is no room for them
                break
            write(block.ids.data)
            num_outside[index] += block.num_outside
        if num_tokens != expected:
            raise changed_error(text.name)
    return tuple(num_outside)


def split_ids(
    stream: Int32[np.ndarray, "_"], num_tokens: Sequence[int]
) -> tuple[Int32[np.ndarray, "_"], ...]:
    """Views of the ids of each split, among those of all."""
    return tuple(np.split(stream, np.cumsum(num_tokens[:-1])))


def encode_splits(splits: Splits, vocabulary: str) -> Encoded:
    """Encodes a corpus in memory.

    Raises:
      InputError: a text cannot be read or is blank, or the ids are more than memory can hold.
    """
    counted = count_splits(splits, vocabulary)
    num_tokens = sum(counted.num_tokens)
    num_bytes, available = num_tokens * ID_BYTES, available_bytes(Path("/"))
    try:
        if num_bytes > available:
            raise MemoryError(f"{available / 2**20:,.0f} MiB are available")
        memory = mmap.mmap(-1, num_bytes)
    except (MemoryError, OSError) as error:  # OSError: more than a limit of the process
        raise InputError(
            f"corpus of {num_tokens:,} tokens",
            f"needs {num_bytes / 2**20:,.0f} MiB of memory for their ids ({one_line(error)})",
            "give --config.data.cache_dir=DIR, from where they are read as they are needed",
        ) from error
    num_outside = write_ids(splits, counted, memory.write)
    stream = np.frombuffer(memory, np.int32)
    stream.flags.writeable = False
    return Encoded(counted.vocabulary, split_ids(stream, counted.num_tokens), num_outside)


def changed_error(name: str) -> InputError:
    """The error of a text that was written to while it was read."""
    return InputError(name, "has changed while it was read", "start again when it is complete")
