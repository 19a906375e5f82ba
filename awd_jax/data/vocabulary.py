"""The tokens a model knows, each with its id."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np
from jaxtyping import Int, Int32

from awd_jax.errors import InputError

EOS = "<eos>"
UNK = "<unk>"
PAD = "<pad>"  # what fills a source up, where the model reads its padding


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids.

    Raises:
      InputError: a token occurs twice, or `<eos>` is missing.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        """Checks the tokens."""
        if len(self.ids) < len(self.tokens):
            twice = next(token for token, n in Counter(self.tokens).items() if n > 1)
            raise InputError(
                f"vocabulary token {twice!r}", "occurs more than once", "list each token once"
            )
        if EOS not in self.ids:
            raise InputError(f"vocabulary of {len(self)} tokens", f"has no {EOS}", f"add {EOS}")

    @classmethod
    def from_counts(cls, counts: Counter[str]) -> "Vocabulary":
        """The most frequent token gets id 0; ties go to the token counted first."""
        return cls(tuple(token for token, _ in counts.most_common()))

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token."""
        return {token: index for index, token in enumerate(self.tokens)}

    @property
    def eos_id(self) -> int:
        """The id of the end of a line."""
        return self.ids[EOS]

    @property
    def unk_id(self) -> int | None:
        """The id that every token outside the vocabulary is read as, or None."""
        return self.ids.get(UNK)

    def __len__(self) -> int:
        """The number of tokens, V."""
        return len(self.tokens)

    def lookup(self, tokens: Sequence[str]) -> Int32[np.ndarray, "N"]:
        """Ids of tokens; -1 for a token outside the vocabulary."""
        return np.fromiter(map(self.ids.get, tokens, repeat(-1)), np.int32, len(tokens))

    def encode(self, tokens: Sequence[str]) -> Int32[np.ndarray, "N"]:
        """Ids of tokens; `unk_id` for a token outside the vocabulary.

        Raises:
          InputError: a token is outside, and there is no `unk_id`.
        """
        ids = self.lookup(tokens)
        self.replace_outside(
            ids,
            lambda index: InputError(
                f"token {tokens[index]!r}",
                f"is not among the {len(self):,} tokens of the vocabulary",
                "use only tokens that it has",
            ),
        )
        return ids

    def replace_outside(
        self, ids: Int32[np.ndarray, "N"], refusal: Callable[[int], InputError]
    ) -> int:
        """Replaces every -1 in `ids` with `unk_id`, in place, and returns how many there were.

        Raises:
          InputError: there is a -1 but no `unk_id`; the error is `refusal(index of the first -1)`.
        """
        outside = np.flatnonzero(ids < 0)
        if outside.size:
            if self.unk_id is None:
                raise refusal(int(outside[0]))
            ids[outside] = self.unk_id
        return outside.size

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "N"]) -> list[str]:
        """Tokens of ids."""
        return [self.tokens[index] for index in ids]


class Channels(Vocabulary):
    """Names of numbers that a model reads or writes side by side: no text, so no `<eos>`."""

    def __post_init__(self) -> None:
        """Checks nothing."""
