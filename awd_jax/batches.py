"""Batches, which `data` makes and `models` read, and the plan of an epoch.

Every array of a batch has its sequences on axis 1; every scalar belongs to the whole batch, over
all devices and processes. Arrays are numpy's when they are made, and jax's when they are read.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float32, Int32


class Counts(NamedTuple):
    """Denominators of means, for the whole batch, so that parts of it can be summed."""

    tokens: Float32[Any, ""]  # real targets
    pairs: Float32[Any, ""]  # real targets whose predecessor is in the batch as well


class Window(NamedTuple):
    """A window of text for backpropagation through time."""

    inputs: Int32[Any, "T B"]
    targets: Int32[Any, "T B"]  # the inputs, one step later
    weights: Float32[Any, "T B"]  # 1 real, 0 padding
    length: Int32[Any, ""]  # number of real steps, of T
    counts: Counts


class Pair(NamedTuple):
    """Sources and what they are to be turned into, for sequence to sequence."""

    sources: Int32[Any, "S B"]
    source_weights: Float32[Any, "S B"]  # 1 real, 0 padding, which comes last
    inputs: Int32[Any, "T B"]  # <eos>, and the target
    targets: Int32[Any, "T B"]  # the target, and <eos>
    weights: Float32[Any, "T B"]  # of the targets: 1 real, 0 padding
    counts: Counts


@runtime_checkable
class Plan(Protocol):
    """The batches of an epoch, in their order."""

    def __len__(self) -> int:
        """Returns the number of batches."""

    def __getitem__(self, position: int) -> Any:
        """Returns the batch at a position, from 0 on."""

    def __iter__(self) -> Iterator[Any]:
        """Iterates over all batches."""

    def part(self, columns: slice) -> "Plan":
        """Returns the plan for these sequences only; counts stay those of the whole batch."""

    @property
    def num_sequences(self) -> int:
        """Number of sequences of the whole batch."""

    @property
    def num_tokens(self) -> int:
        """Number of real targets, in all batches and sequences."""

    def rate_factor(self, position: int) -> float:
        """Returns the factor by which to multiply the learning rate of a batch."""
