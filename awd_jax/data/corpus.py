"""Loads a corpus by name: finds its texts, and their ids."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from awd_jax.data.catalogue import (
    PLAIN_LAYOUT,
    SOURCES,
    Splits,
    file_names,
    find_local,
    find_splits,
)
from awd_jax.data.encoded_file import read_encoded
from awd_jax.data.text import LEVELS, string_text
from awd_jax.data.vocabulary import UNK, Vocabulary
from awd_jax.errors import InputError
from awd_jax.files import local_path

NAMES = (*SOURCES, "synthetic", "text")


class Corpus(NamedTuple):
    """Three token streams, which cannot be changed, and their vocabulary.

    `notes` are lines to show the user. `entropy` is the entropy of the source in nats per token
    (`<eos>` included); only that of the synthetic corpus by word is known.
    """

    name: str
    level: str
    vocabulary: Vocabulary
    train: Int32[np.ndarray, "N"]
    valid: Int32[np.ndarray, "M"]
    test: Int32[np.ndarray, "L"]
    notes: tuple[str, ...]
    entropy: float | None


def load_corpus(
    name: str, directory: str, level: str, vocabulary: str, seed: int, cache_dir: str
) -> Corpus:
    """Loads a corpus from the first place that has it.

    A named corpus is looked for in `directory` if one is given, else in $AWD_JAX_DATA/<name>,
    among what TFDS has prepared, and on the network.

    Args:
      name: ptb, ptb_char, wikitext2, wikitext103, enwik8, text8; synthetic, which is generated
        unless a directory is given; or text, which is train.txt, valid.txt and test.txt in
        `directory`.
      directory: a directory with the files of the splits, "" for none.
      level: word, char or byte; a named corpus has only one.
      vocabulary: "train": the tokens of train and `<unk>`; other tokens of valid and test are
        read as `<unk>`. "all": the tokens of all three splits, as in the published recipes.
      seed: the seed of the synthetic corpus.
      cache_dir: a directory that keeps what has been encoded, see `encoded_file`; "" for none.

    Raises:
      InputError: an argument is wrong, files are missing, damaged or cannot be downloaded, the
        directory of encoded ones cannot be used, or memory is wanting.
    """
    if name == "synthetic" and directory:
        name = "text"  # a directory given explicitly takes precedence
    _check_arguments(name, directory, level, vocabulary)
    splits, entropy = _find(name, directory, level, seed)
    encoded = read_encoded(splits, vocabulary, cache_dir)
    notes = tuple(
        f"{split}: {num:,} of {len(ids):,} tokens outside the vocabulary read as {UNK}"
        for split, ids, num in zip(Splits._fields, encoded.ids, encoded.num_outside, strict=True)
        if num
    )
    train, valid, test = encoded.ids
    return Corpus(name, level, encoded.vocabulary, train, valid, test, notes, entropy)


def _check_arguments(name: str, directory: str, level: str, vocabulary: str) -> None:
    for what, value, allowed in (
        ("corpus", name, NAMES),
        ("level", level, LEVELS),
        ("vocabulary", vocabulary, ("train", "all")),
    ):
        if value not in allowed:
            raise InputError(f'{what} "{value}"', "is unknown", f"use {', '.join(allowed)}")
    own = SOURCES[name].level if name in SOURCES else level
    if level != own:
        raise InputError(
            f'level "{level}"', f'corpus "{name}" is read at level "{own}"', _level_fix(name, level)
        )
    if name == "text" and not directory:
        raise InputError(
            'corpus "text"',
            "needs a directory",
            f"give one with {file_names((PLAIN_LAYOUT,))} as --config.data.dir",
        )


def _level_fix(name: str, level: str) -> str:
    """The corpus of the same files at this level, if there is one."""
    for other, source in SOURCES.items():
        if name in SOURCES and source.remotes == SOURCES[name].remotes and source.level == level:
            return f'use corpus "{other}"'
    return f'use its level, or corpus "text" with a directory to read its files at level "{level}"'


def _find(name: str, directory: str, level: str, seed: int) -> tuple[Splits, float | None]:
    """The texts of a corpus, and its entropy if known."""
    if name == "synthetic":
        from awd_jax.data.synthetic import generate_corpus

        corpus = generate_corpus(seed)
        texts = (string_text(f"synthetic {s}", level, getattr(corpus, s)) for s in Splits._fields)
        return Splits(*texts), corpus.entropy if level == "word" else None
    layouts = (PLAIN_LAYOUT,) if name == "text" else SOURCES[name].layouts
    if directory:
        path = local_path("config.data.dir", directory)
        splits = find_splits(path, level, layouts)
        if splits is None:
            raise InputError(
                f"directory {directory}",
                "lacks files of the corpus" if path.is_dir() else "does not exist",
                f"put {file_names(layouts)} there",
            )
        return splits, None
    splits = find_local(SOURCES[name])
    if splits is None:
        # TFDS takes half a second to import and is needed only here.
        from awd_jax.data.builders import prepared_splits

        splits = prepared_splits(name)
    return splits, None
