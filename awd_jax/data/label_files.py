"""Files of documents with labels, and what may be wrong with them.

A split is `train.tsv`, a label, a tab and a text a line; or `train.jsonl`, an object with `label`
and `text` a line; or a directory `train` that has a directory for each label, a file for each text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from awd_jax.errors import InputError, one_line
from awd_jax.files import read_text

_FIX = "make it a label and its text"


class Document(NamedTuple):
    """A text and its label."""

    label: str
    text: str  # of one or more lines
    place: str  # where it is from, for errors


def find_split(directory: Path, split: str) -> Path | None:
    """Returns the file or directory of a split; None if there is none."""
    names = (f"{split}.tsv", f"{split}.jsonl", split)
    return next((directory / name for name in names if (directory / name).exists()), None)


def read_split(path: Path) -> list[Document]:
    """Reads the documents of a split.

    Raises:
      InputError: it cannot be read, is not UTF-8, has no documents, or one without a label or text.
    """
    if path.is_dir():
        try:
            documents = list(_of_directory(path))
        except OSError as error:
            rule = f"cannot be read ({one_line(error)})"
            raise InputError(str(path), rule, "make it readable") from error
    else:
        read = _of_json if path.suffix == ".jsonl" else _of_row
        text = read_text(str(path), path, "give a readable file")
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        documents = [read(f"{path}, line {number}", line) for number, line in enumerate(lines, 1)]
    if not documents:
        raise InputError(str(path), "has no documents", "give at least one")
    return documents


def _of_directory(path: Path) -> Iterator[Document]:
    for directory in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        for file in sorted(entry for entry in directory.iterdir() if entry.is_file()):
            text = read_text(str(file), file, "give a readable file")
            yield _document(str(file), directory.name, text)


def _of_row(place: str, line: str) -> Document:
    label, tab, text = line.partition("\t")
    if not tab:
        raise InputError(place, "has no tab", _FIX)
    return _document(place, label, text)


def _of_json(place: str, line: str) -> Document:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(place, f"is not JSON ({one_line(error)})", _FIX) from error
    if not isinstance(row, dict) or not {"label", "text"} <= row.keys():
        raise InputError(place, "has no label and text", 'make it {"label": ..., "text": ...}')
    if not isinstance(row["text"], str) or not isinstance(row["label"], str | int):
        raise InputError(place, "has a label or text that is no string", _FIX)
    try:
        row["text"].encode()
    except UnicodeEncodeError as error:
        half = row["text"][error.start]
        raise InputError(place, f"has half a character, {half!a}", _FIX) from error
    return _document(place, str(row["label"]), row["text"])


def _document(place: str, label: str, text: str) -> Document:
    for name, value in (("label", label), ("text", text)):
        if not value.strip():
            raise InputError(place, f"has a blank {name}", _FIX)
    return Document(label.strip(), text, place)
