"""Turns tokens back into text: the inverse of `text`."""

import codecs
from collections.abc import Iterable

from awd_jax.data.vocabulary import EOS, PAD, UNK


class Speller:
    """Spells the tokens of a text one after another.

    Words are separated by blanks, characters and bytes by nothing; `<eos>` ends a line. Bytes that
    are not UTF-8 become U+FFFD.
    """

    def __init__(self, level: str) -> None:
        self._level = level
        self._blank = ""  # before the next word
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")

    def spell(self, token: str) -> str:
        """The text that the next token adds; empty for a byte that does not end a character."""
        if self._level == "byte":
            if token in (UNK, PAD):  # PAD: where both sides share a vocabulary
                return self._bytes.decode(b"\xff")  # a byte that UTF-8 never has: U+FFFD
            return self._bytes.decode(b"\n" if token == EOS else bytes([int(token)]))
        if token == EOS:
            self._blank = ""
            return "\n"
        if self._level == "char":
            return " " if token == "_" else token
        piece, self._blank = self._blank + token, " "
        return piece


def spell(tokens: Iterable[str], level: str) -> str:
    """The text of all tokens."""
    return "".join(map(Speller(level).spell, tokens))
