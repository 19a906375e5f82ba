"""Reads the tokens of another program's model, in the order of their ids."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from awd_jax.errors import InputError
from awd_jax.files import read_text

_FIX = (
    "convert the list where it comes from: json.dump(list(ITOS), open('vocabulary.json', 'w')); "
    "awd-lstm-lm has it as corpus.dictionary.idx2word, fastai as itos or dls.vocab, Transformer-XL "
    "as corpus.vocab.idx2sym"
)
_FASTAI_PADDING = "xxfake"  # repeated until the size is a multiple of 8


def read_tokens(path: Path) -> tuple[str, ...]:
    """Reads a JSON list of tokens (`.json`), or a text file with one a line.

    Raises:
      InputError: it is missing, or is neither; a pickled list is never loaded.
    """
    place = f"vocabulary {path}"
    tokens = read_list(place, path, _FIX)
    for counted in (r"\S+\s+\d+", r"\s*\d+\s+\S+"):
        if path.suffix != ".json" and all(re.fullmatch(counted, token) for token in tokens):
            fix = "keep the column of tokens alone, as cut or awk do"
            raise InputError(f"{place}, line 1", f"{tokens[0]!r} is a token and its count", fix)
    return tokens


def read_list(place: str, path: Path, fix: str) -> tuple[str, ...]:
    """Reads a JSON list of strings (`.json`), or a text file with one a line.

    Args:
      place: what the file has, for messages.
      path: the file.
      fix: what to do if it has something else.

    Raises:
      InputError: it is missing, or is neither; a pickled list is never loaded.
    """
    text = read_text(place, path, fix)
    # The name of a pipe does not say what it holds.
    is_json = path.suffix == ".json" or (text.startswith('["') and text.rstrip().endswith('"]'))
    return parse_tokens(place, text, fix) if is_json else _lines(place, text, fix)


def parse_tokens(place: str, text: str, fix: str = _FIX) -> tuple[str, ...]:
    """Returns the strings of a JSON list.

    Raises:
      InputError: the text is something else; `place` names it.
    """
    try:
        tokens = json.loads(text)
    except ValueError as error:
        raise InputError(place, f"is not JSON ({error})", fix) from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise InputError(place, "must be a JSON list of strings", fix)
    return tuple(tokens)


def rename_token(tokens: Sequence[str], candidates: Sequence[str], name: str) -> tuple[str, ...]:
    """Renames the first candidate that is among the tokens, if there is one."""
    found = next((candidate for candidate in candidates if candidate in tokens), name)
    return tuple(name if token == found else token for token in tokens)


def number_padding(tokens: Sequence[str]) -> tuple[str, ...]:
    """Numbers the padding of fastai's vocabularies, to make it unique: xxfake, xxfake_1, ..."""
    seen: Counter[str] = Counter()
    numbered = []
    for token in tokens:
        number = seen[token]
        seen[token] += 1
        numbered.append(f"{token}_{number}" if token == _FASTAI_PADDING and number else token)
    return tuple(numbered)


def _lines(place: str, text: str, fix: str) -> tuple[str, ...]:
    # Not splitlines(): it also ends lines at characters that may be tokens.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if "" in lines:
        raise InputError(f"{place}, line {lines.index('') + 1}", "is blank", fix)
    return tuple(lines)
