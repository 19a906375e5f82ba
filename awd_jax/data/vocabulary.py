"""The tokens a model knows, each with its id."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from jaxtyping import Int, Int32

from awd_jax.errors import InputError

EOS = "<eos>"
UNK = "<unk>"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids; `Vocabulary(tuple(tokens))` rebuilds it from a list.

    Raises:
      InputError: a token is there twice, or `<eos>` is missing.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        """Checks the tokens."""
        if len(self.ids) < len(self.tokens):
            twice = next(token for token, n in Counter(self.tokens).items() if n > 1)
            raise InputError(
                f"vocabulary token {twice!r}", "is there more than once", "name each token once"
            )
        if EOS not in self.ids:
            raise InputError(f"vocabulary of {len(self)} tokens", f"has no {EOS}", f"add {EOS}")

    @classmethod
    def from_counts(cls, counts: Counter[str]) -> "Vocabulary":
        """Ids by falling frequency; of equally frequent tokens the first counted comes first."""
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
        """The id that stands for every token outside, None if there is no such id."""
        return self.ids.get(UNK)

    def __len__(self) -> int:
        """V."""
        return len(self.tokens)

    def lookup(self, tokens: Sequence[str]) -> Int32[np.ndarray, "N"]:
        """Ids of tokens, -1 for each token outside."""
        return np.fromiter(map(self.ids.get, tokens, repeat(-1)), np.int32, len(tokens))

    def encode(self, tokens: Sequence[str]) -> Int32[np.ndarray, "N"]:
        """Ids of tokens, `unk_id` for each token outside.

        Raises:
          InputError: a token is outside and there is no `unk_id`.
        """
        ids = self.lookup(tokens)
        outside = np.flatnonzero(ids < 0)
        if outside.size:
            if self.unk_id is None:
                raise InputError(
                    f"token {tokens[outside[0]]!r}",
                    f"is not among the {len(self):,} tokens of the vocabulary",
                    "use only tokens that it has",
                )
            ids[outside] = self.unk_id
        return ids

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "N"]) -> list[str]:
        """Tokens of ids."""
        return [self.tokens[index] for index in ids]
