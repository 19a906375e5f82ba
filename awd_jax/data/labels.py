"""Loads documents with labels by name, and their ids, for classification."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from awd_jax.data.label_files import Document, find_split, read_split
from awd_jax.data.pairs import Pairs, Ragged
from awd_jax.data.streams import stream
from awd_jax.data.subjects import draw_subjects
from awd_jax.data.text import lines_tokens
from awd_jax.data.vocabulary import UNK, Vocabulary
from awd_jax.errors import InputError
from awd_jax.files import local_path

NAMES = ("subjects", "labels")
SPLITS = ("train", "valid", "test")


class Reading(NamedTuple):
    """How a text becomes ids: an `<eos>`, and its lines with one between any two."""

    level: str  # word, char or byte
    is_backward: bool  # from its end to its beginning
    max_length: int  # only the last tokens of a text; 0: all

    def tokens(self, text: str) -> list[str]:
        """Returns the tokens of a text, in their own order."""
        return lines_tokens(["", *text.removesuffix("\n").split("\n")], self.level)[:-1]

    def order(self, ids: Int32[np.ndarray, "N"]) -> Int32[np.ndarray, "M"]:
        """Returns the ids that are read, in the order in which they are."""
        ids = ids[-self.max_length :] if self.max_length else ids
        return ids[::-1].copy() if self.is_backward else ids


class LabelCorpus(NamedTuple):
    """Three splits of documents; `notes` are lines to show the user."""

    name: str
    vocabulary: Vocabulary
    labels: tuple[str, ...]  # in the order of their indices
    train: Pairs  # of a text and its label, a sequence of one
    valid: Pairs
    test: Pairs
    notes: tuple[str, ...]


def load_labels(
    name: str,
    directory: str,
    reading: Reading,
    valid_share: float,
    max_examples: int,
    vocabulary: Vocabulary | None,
    seed: int,
) -> LabelCorpus:
    """Loads documents; the labels are those of train, in alphabetical order.

    Args:
      name: subjects, which is generated unless a directory is given; or labels, which is read
        from `directory`: see `label_files`.
      directory: a directory with the splits, "" for none.
      reading: how texts become ids.
      valid_share: of train, drawn of each label, that is valid if there is no such split.
      max_examples: only the first documents of train are used, whatever their labels; 0: all.
      vocabulary: of the texts; None for the tokens of train, `<eos>` and `<unk>`.
      seed: of what is generated and drawn.

    Raises:
      InputError: files are missing or damaged, a document has no label or text, train has a single
        label, another split has one that train lacks, or a token is outside a vocabulary without
        `<unk>`.
    """
    if directory:
        name = "labels"  # a directory given takes precedence
    splits = _read(name, directory, valid_share, seed)
    labels = tuple(sorted({document.label for document in splits[0]}))
    if len(labels) < 2:
        raise InputError(
            f"train of corpus {name}", f"has a single label, {labels[0]!r}", "give two or more"
        )
    splits[0] = splits[0][: max_examples or None]
    tokens = [[reading.tokens(document.text) for document in split] for split in splits]
    if vocabulary is None:
        counts = Counter(token for document in tokens[0] for token in document)
        counts[UNK] += 0
        vocabulary = Vocabulary.from_counts(counts)
    encoded, notes = [], []
    for split, documents, spelled in zip(SPLITS, splits, tokens, strict=True):
        texts = [reading.order(vocabulary.lookup(found)) for found in spelled]
        num_outside = sum(
            vocabulary.replace_outside(ids, lambda _, d=d: _outside(d))  # type: ignore[misc]
            for d, ids in zip(documents, texts, strict=True)
        )
        indices = [_index(document, labels) for document in documents]
        encoded.append(Pairs(Ragged.of(texts), Ragged.of(np.array(indices, np.int32)[:, None])))
        if num_outside:
            total = sum(map(len, texts))
            notes.append(f"{split}: {num_outside:,} of {total:,} tokens read as {UNK}")
    train, valid, test = encoded
    return LabelCorpus(name, vocabulary, labels, train, valid, test, tuple(notes))


def balance(train: Pairs, num_classes: int) -> Float32[np.ndarray, "K"]:
    """Returns weights of classes under which each has the same share of train; their mean is 1."""
    counts = np.bincount(train.targets.ids, minlength=num_classes)
    return (len(train) / (num_classes * np.maximum(counts, 1))).astype(np.float32)


def _read(name: str, directory: str, valid_share: float, seed: int) -> list[list[Document]]:
    if name == "subjects":
        return [
            [
                Document(label, text, f"subjects, {split} {i}")
                for i, (label, text) in enumerate(rows)
            ]
            for split, rows in zip(SPLITS, draw_subjects(seed), strict=True)
        ]
    path: Path = local_path("config.data.dir", directory)
    if not directory or not path.is_dir():
        raise InputError(
            f"config.data.dir = {directory!r}", "is no directory", "give one with train and test"
        )
    found = {split: find_split(path, split) for split in SPLITS}
    for split in ("train", "test"):
        if found[split] is None:
            fix = f"put {split}.tsv, {split}.jsonl or a directory {split} there"
            raise InputError(f"directory {directory}", f"lacks the documents of {split}", fix)
    splits = [[] if at is None else read_split(at) for at in found.values()]
    if found["valid"] is None:
        splits[:2] = _stratify(splits[0], valid_share, seed)
    return splits


def _stratify(documents: list[Document], share: float, seed: int) -> list[list[Document]]:
    """Returns train and valid: of each label this share is valid, one document at least."""
    random = stream(seed)
    is_valid = np.zeros(len(documents), bool)
    labels = np.array([document.label for document in documents])
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        # One at least, and not all: train must have every label.
        num = min(max(1, round(share * len(own))), len(own) - 1)
        is_valid[own[:num]] = True
    if not is_valid.any():
        raise InputError("train", "has one document of each label, and there is no valid", "add it")
    return [
        [d for d, chosen in zip(documents, is_valid, strict=True) if chosen == wanted]
        for wanted in (False, True)
    ]


def _index(document: Document, labels: tuple[str, ...]) -> int:
    if document.label not in labels:
        raise InputError(
            document.place,
            f"has the label {document.label!r}, which train lacks",
            f"use {', '.join(map(repr, labels[:9]))}, or add it to train",
        )
    return labels.index(document.label)


def _outside(document: Document) -> InputError:
    return InputError(
        document.place, f"has a token outside the vocabulary, which has no {UNK}", "take it out"
    )
