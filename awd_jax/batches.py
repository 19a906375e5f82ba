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

    @property
    def targets(self) -> Float32[Any, ""]:
        """What the loss is a mean over."""
        return self.tokens


class LabelCounts(NamedTuple):
    """`Counts` of documents, whose inputs are the tokens and whose labels are the targets."""

    tokens: Float32[Any, ""]
    pairs: Float32[Any, ""]
    targets: Float32[Any, ""]  # the sum of all label weights


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


class Labelled(NamedTuple):
    """Documents and their labels, for classification."""

    inputs: Int32[Any, "T B"]
    weights: Float32[Any, "T B"]  # of the inputs: 1 real, 0 padding, which comes last
    labels: Int32[Any, "1 B"]
    label_weights: Float32[Any, "1 B"]  # that of the label's class; 0 for an idle document
    counts: LabelCounts


class Bits(NamedTuple):
    """Sequences of vectors, and the bits to answer at their last steps."""

    inputs: Float32[Any, "T B D"]
    targets: Float32[Any, "T B K"]  # 0 or 1
    weights: Float32[Any, "T B"]  # 1 where all K bits are asked for, else 0
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
