"""Loads pairs of sources and targets by name, and their ids, for sequence to sequence."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Int64, Shaped

from awd_jax.data.exercises import EXERCISES
from awd_jax.data.pair_files import SIDES, Rules, Table, count_faults, read_table, sound_pairs
from awd_jax.data.text import LEVELS, lines_tokens
from awd_jax.data.vocabulary import PAD, UNK, Vocabulary
from awd_jax.errors import InputError
from awd_jax.files import local_path

NAMES = (*EXERCISES, "pairs")
SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, one after another; they cannot be changed."""

    ids: Int32[np.ndarray, "tokens"]
    ends: Int64[np.ndarray, "N"]

    @classmethod
    def of(cls, sequences: Iterable[Int32[np.ndarray, "_"]]) -> "Ragged":
        """Joins sequences."""
        rows = list(sequences)
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        return cls(_fixed(np.concatenate([np.zeros(0, np.int32), *rows])), _fixed(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Int32[np.ndarray, "_"]:
        end = int(self.ends[index])
        return self.ids[end - int(self.lengths[index]) : end]

    def first(self, num: int) -> "Ragged":
        """Returns the first sequences, all if there are fewer."""
        ends = self.ends[:num]
        return Ragged(self.ids[: ends[-1]], ends) if len(ends) else self

    @functools.cached_property
    def lengths(self) -> Int[np.ndarray, "N"]:
        """The length of each sequence."""
        return np.diff(self.ends, prepend=0)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Sources and their targets, without any `<eos>`."""

    sources: Ragged
    targets: Ragged

    def __len__(self) -> int:
        return len(self.sources)

    def first(self, num: int) -> "Pairs":
        """Returns the first pairs, all if there are fewer."""
        return Pairs(self.sources.first(num), self.targets.first(num))


class PairCorpus(NamedTuple):
    """Three splits of pairs and their vocabularies; `notes` are lines to show the user."""

    name: str
    source_vocabulary: Vocabulary
    vocabulary: Vocabulary  # of the targets
    train: Pairs
    valid: Pairs
    test: Pairs
    notes: tuple[str, ...]


def load_pairs(
    name: str,
    directory: str,
    source_level: str,
    level: str,
    is_shared: bool,
    max_length: int,
    faults: str,
    source_length: int,
    seed: int,
) -> PairCorpus:
    """Loads pairs. The vocabularies have the tokens of train, `<eos>` and `<unk>`.

    Args:
      name: one of EXERCISES, which is generated unless a directory is given; or pairs, which
        is read from `directory`: see `pair_files`.
      directory: a directory with the files of the splits, "" for none.
      source_level: word, char or byte, for sources.
      level: word, char or byte, for targets.
      is_shared: whether both sides have one vocabulary, counted over both.
      max_length: the most tokens that a side of train may have; 0 for any number.
      faults: "refuse" or "skip" lines which are no pair, or too long.
      source_length: sources are filled up with `<pad>` to this many tokens; 0 leaves them.
      seed: the seed of an exercise.

    Raises:
      InputError: an argument is wrong, files are missing or damaged, a line has a fault that is
        not to be skipped, or a split has no pairs.
    """
    if directory:
        name = "pairs" if name in EXERCISES else name  # a directory given takes precedence
    _check_arguments(name, directory, source_level, level, is_shared, max_length, faults)
    levels = (source_level, level)
    notes: list[str] = []
    splits = []
    for split, table in zip(SPLITS, _tables(name, directory, seed), strict=True):
        # Of valid and test nothing is left out for its length: their results would not compare.
        longest = max_length if split == "train" else 0
        pairs, skipped = sound_pairs(table, Rules(levels, longest, faults == "skip"))
        splits.append(pairs)
        if skipped:
            count = f"{skipped.total():,} of {len(table.rows):,} lines skipped"
            notes.append(f"{split}: {count}: {count_faults(skipped)}")
    vocabularies = _count_tokens(splits[0], levels, is_shared, source_length)
    encoded = []
    for split, pairs in zip(SPLITS, splits, strict=True):
        sides = []
        for i, side in enumerate(SIDES):
            ids, num_outside = _encode([pair[i] for pair in pairs], levels[i], vocabularies[i])
            if side == "source" and source_length:
                ids = _filled(ids, source_length, vocabularies[i].ids[PAD])
            sides.append(ids)
            if num_outside:
                count = f"{num_outside:,} of {len(ids.ids):,} tokens of {side}s"
                notes.append(f"{split}: {count} outside the vocabulary read as {UNK}")
        encoded.append(Pairs(*sides))
    train, valid, test = encoded
    return PairCorpus(name, *vocabularies, train, valid, test, tuple(notes))


def _check_arguments(
    name: str,
    directory: str,
    source_level: str,
    level: str,
    is_shared: bool,
    max_length: int,
    faults: str,
) -> None:
    for what, value, allowed in (
        ("corpus", name, NAMES),
        ("source level", source_level, LEVELS),
        ("level", level, LEVELS),
        ("faults", faults, ("refuse", "skip")),
    ):
        if value not in allowed:
            raise InputError(f'{what} "{value}"', "is unknown", f"use {', '.join(allowed)}")
    if is_shared and source_level != level:
        raise InputError(
            f'levels "{source_level}" and "{level}"',
            "cannot share a vocabulary",
            "use one level for both sides, or two vocabularies",
        )
    if max_length < 0:
        raise InputError(f"max_length {max_length}", "must not be negative", "use 0 for any")
    if name == "pairs" and not directory:
        raise InputError(
            'corpus "pairs"',
            "needs a directory",
            "give one with train.tsv, valid.tsv, test.tsv as --config.data.dir",
        )


def _tables(name: str, directory: str, seed: int) -> list[Table]:
    if name in EXERCISES:
        exercise = EXERCISES[name](seed)
        names = (f"{name} {split}" for split in SPLITS)
        return [Table((n, n), list(rows)) for n, rows in zip(names, exercise, strict=True)]
    path: Path = local_path("config.data.dir", directory)
    if not path.is_dir():
        fix = "give a directory with train.tsv, valid.tsv, test.tsv"
        raise InputError(f"directory {directory}", "does not exist", fix)
    return [read_table(path, split) for split in SPLITS]


def _count_tokens(
    pairs: list[tuple[str, str]], levels: tuple[str, str], is_shared: bool, source_length: int
) -> tuple[Vocabulary, Vocabulary]:
    """Counts the tokens of both sides; each line ends with an `<eos>`, as in a text."""
    columns = zip(*pairs, strict=True)
    counts = [Counter(lines_tokens(c, lvl)) for c, lvl in zip(columns, levels, strict=True)]
    if is_shared:
        counts = [counts[0] + counts[1]] * 2
    if source_length:
        counts[0][PAD] += 0
    for count in counts:
        count[UNK] += 0
    source, target = map(Vocabulary.from_counts, counts)
    return source, source if is_shared else target


def _encode(lines: Sequence[str], level: str, vocabulary: Vocabulary) -> tuple[Ragged, int]:
    """Returns the ids of lines, and how many tokens outside the vocabulary there are."""
    ids = vocabulary.lookup(lines_tokens(lines, level))
    is_outside, is_end = ids < 0, ids == vocabulary.eos_id
    ids[is_outside] = vocabulary.ids[UNK]
    ends = np.flatnonzero(is_end) - np.arange(len(lines))
    return Ragged(_fixed(ids[~is_end]), _fixed(ends)), int(is_outside.sum())


def _filled(sources: Ragged, length: int, pad_id: int) -> Ragged:
    """Returns sources followed by `<pad>` up to this length."""
    rows = (sources[index] for index in range(len(sources)))
    return Ragged.of(np.pad(r, (0, max(length - len(r), 0)), constant_values=pad_id) for r in rows)


def _fixed(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    array.flags.writeable = False
    return array
