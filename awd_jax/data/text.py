"""Reads texts in blocks of whole lines, and splits them into tokens.

| level | tokens of a line | after the last line |
|---|---|---|
| word | its words, `<eos>` | nothing |
| char | characters of the stripped line, `_` for a blank, `<eos>` | an extra `<eos>` |
| byte | its bytes as decimal numbers, `<eos>` for byte 10 | an extra `<eos>` |

These rules give the token counts that are published. Only "\\n" and "\\r\\n" end a line; at byte
level only byte 10 does, and nothing is dropped or translated.
"""

import functools
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from awd_jax.data.vocabulary import EOS, UNK, Vocabulary
from awd_jax.errors import InputError, one_line
from awd_jax.files import decode, is_pipe_or_device, without_mark

LEVELS = ("word", "char", "byte")
BLOCK_BYTES = 1 << 20
_BYTE_TOKENS = tuple(EOS if byte == 10 else str(byte) for byte in range(256))
_BLANK = re.compile(r"[^\S\n]")


class Text(NamedTuple):
    """A text that can be read any number of times, block by block.

    Errors call it `name`; `blocks()` yields its bytes, cut at line ends.
    """

    name: str
    level: str
    blocks: Callable[[], Iterator[bytes]]


class EncodedBlock(NamedTuple):
    """The ids of a block, and how many tokens outside the vocabulary were read as `<unk>`."""

    ids: Int32[np.ndarray, "N"]
    num_outside: int


def file_text(path: Path, level: str, start: int = 0, stop: int | None = None) -> Text:
    """The text in a file, or in its bytes [start, stop).

    Reading it raises InputError if the file is missing, unreadable, empty, not a regular file, or
    shorter than `stop`.
    """
    return Text(str(path), level, functools.partial(_file_blocks, path, start, stop))


def string_text(name: str, level: str, string: str) -> Text:
    """The text in a string."""
    return Text(name, level, lambda: iter([string.encode()]))


def count_tokens(text: Text) -> Counter[str]:
    """How often each token occurs, in the order of first appearance.

    Raises:
      InputError: the text cannot be read, or is not UTF-8 (word and char level).
    """
    counts: Counter[str] = Counter()
    if text.level == "byte":
        for block in _closed_blocks(text):
            values, first, num = np.unique(
                np.frombuffer(block, np.uint8), return_index=True, return_counts=True
            )
            for i in np.argsort(first):
                counts[_BYTE_TOKENS[values[i]]] += int(num[i])
    else:
        for string in _strings(text.name, _closed_blocks(text)):
            counts.update(_tokens(string, text.level))
    return counts


def encode_text(text: Text, vocabulary: Vocabulary) -> Iterator[EncodedBlock]:
    """The ids of a text's tokens, block by block; a token outside is read as `<unk>`.

    Raises:
      InputError: the text cannot be read, is not UTF-8 (word and char level), is empty or blank,
        or has tokens outside a vocabulary without `<unk>`.
    """
    is_blank = True
    for ids in _block_ids(text, vocabulary):
        num = vocabulary.replace_outside(ids, lambda _: _outside_error(text, vocabulary))
        is_blank = is_blank and bool(np.all(ids == vocabulary.eos_id))
        yield EncodedBlock(ids, num)
    if is_blank:
        raise InputError(text.name, "is empty or blank", "give a text with at least one token")


def spelled_blocks(text: Text) -> Iterator[bytes]:
    """The characters of a text with blanks between them: "ab c" becomes "a b _ c".

    Character corpora are published in this form. Its words are the char tokens of `text`.
    """
    for string in _strings(text.name, _closed_blocks(text)):
        lines = _char_lines(string).split("\n")
        yield "\n".join(map(" ".join, lines)).encode()


def text_lines(text: Text) -> Iterator[list[str]]:
    """The tokens of each line without its `<eos>`; reads one block at a time.

    The extra `<eos>` after the last line (see the table above) is left out too.

    Raises:
      InputError: the text cannot be read, or is not UTF-8 (word and char level).
    """
    if text.level == "byte":
        for block in text.blocks():
            for raw_line in block.removesuffix(b"\n").split(b"\n"):
                yield [_BYTE_TOKENS[byte] for byte in raw_line]
    else:
        for string in _strings(text.name, text.blocks()):
            for line in string.removesuffix("\n").split("\n"):
                yield _tokens(line, text.level)


def without_ends(text: Text) -> Text:
    """The text as files of pairs and of labels are read: without a mark, lines ending in "\\n".

    It matters at byte level alone: see the table above.
    """

    def blocks() -> Iterator[bytes]:
        for index, block in enumerate(text.blocks()):
            block = block.removeprefix(b"\xef\xbb\xbf") if index == 0 else block
            yield block.replace(b"\r\n", b"\n").removesuffix(b"\r")

    return text._replace(blocks=blocks)


def lines_tokens(lines: Iterable[str], level: str) -> list[str]:
    """Returns the tokens of lines, which have no "\\n" in them, each with its `<eos>`."""
    string = "".join(f"{line}\n" for line in lines)
    if level == "byte":
        return [_BYTE_TOKENS[byte] for byte in string.encode()]
    return _tokens(string, level)


def _block_ids(text: Text, vocabulary: Vocabulary) -> Iterator[Int32[np.ndarray, "N"]]:
    """The ids of each block's tokens; -1 for a token outside the vocabulary."""
    if text.level == "byte":
        table = vocabulary.lookup(_BYTE_TOKENS)
        for block in _closed_blocks(text):
            yield table[np.frombuffer(block, np.uint8)]
    else:
        for string in _strings(text.name, _closed_blocks(text)):
            yield vocabulary.lookup(_tokens(string, text.level))


def _tokens(string: str, level: str) -> list[str]:
    if level == "word":
        # Not splitlines(): it also ends lines at form feeds, U+2028 and others.
        return string.replace("\n", f" {EOS} ").split()
    return [EOS if char == "\n" else char for char in _char_lines(string)]


def _char_lines(string: str) -> str:
    stripped = "\n".join(line.strip() for line in string.split("\n"))
    return _BLANK.sub("_", stripped)


def _strings(name: str, blocks: Iterator[bytes]) -> Iterator[str]:
    """Blocks as strings, without a byte order mark.

    The "\\r" of a line end needs no care: it is a blank at the end of a line, which is dropped.
    """
    line = 1
    for index, block in enumerate(blocks):
        string = decode(name, block, line)
        line += string.count("\n")
        yield without_mark(string) if index == 0 else string


def _closed_blocks(text: Text) -> Iterator[bytes]:
    """The blocks, and a line end if the last `<eos>` needs one (see the table above)."""
    block = b""
    for block in text.blocks():
        yield block
    if text.level != "word" or not block.endswith(b"\n"):
        yield b"\n"


def _file_blocks(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    try:
        if is_pipe_or_device(path):
            raise InputError(str(path), "is not a regular file", "copy it to one: it is read twice")
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            if stop is not None and size < stop:
                raise InputError(
                    str(path), f"has {size:,} bytes, not {stop:,}", "put the whole file there"
                )
            left = (size if stop is None else stop) - file.seek(start)
            if left == 0:
                raise InputError(str(path), "is empty", "give a text with at least one token")
            while block := file.read(min(BLOCK_BYTES, left)):
                block += file.readline(left - len(block))
                left -= len(block)
                yield block
    except OSError as error:
        raise InputError(
            str(path), f"cannot be read ({one_line(error)})", "give a readable file"
        ) from error


def _outside_error(text: Text, vocabulary: Vocabulary) -> InputError:
    """Names the first tokens outside. The text is read again to find their lines."""
    found: list[str] = []
    for number, tokens in enumerate(text_lines(text), 1):
        found += [f"{t!r} (line {number})" for t in tokens if t not in vocabulary.ids]
        if len(found) >= 3:
            break
    return InputError(
        f"{text.name}: {', '.join(found[:3])}",
        f"not among the {len(vocabulary):,} tokens of the vocabulary, which has no {UNK}",
        'remove them from the text, or train with data.vocabulary "all"',
    )
