"""The batches of an epoch over documents with labels."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from awd_jax.batches import LabelCounts, Labelled
from awd_jax.data.buckets import PairPlan


@dataclasses.dataclass(frozen=True)
class LabelPlan:
    """A `Plan` of `Labelled`: that of pairs of a text and its label, a sequence of one."""

    plan: PairPlan
    class_weights: Float32[np.ndarray, "K"]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Labelled:
        pair, members = self.plan[position], self.plan.members(position)
        labels, is_real = pair.targets[:1], pair.weights[:1]
        num_tokens = int(self.plan.pairs.sources.lengths[members].sum())
        counts = LabelCounts(
            tokens=np.float32(num_tokens),
            pairs=np.float32(num_tokens - len(members)),
            targets=self.class_weights[self.plan.pairs.targets.ids[members]].sum(),
        )
        return Labelled(
            inputs=pair.sources,
            weights=pair.source_weights,
            labels=labels,
            label_weights=is_real * self.class_weights[labels],
            counts=counts,
        )

    def __iter__(self) -> Iterator[Labelled]:
        return (self[position] for position in range(len(self)))

    def part(self, columns: slice) -> "LabelPlan":
        """The same batches with these documents alone; counts stay those of the whole batch."""
        return dataclasses.replace(self, plan=self.plan.part(columns))

    @property
    def num_sequences(self) -> int:
        """Documents of the whole batch."""
        return self.plan.num_sequences

    @property
    def num_tokens(self) -> int:
        """Number of labels of the whole epoch."""
        return len(self.plan.pairs)

    def rate_factor(self, position: int) -> float:
        """Batches of every length have the rate of the config."""
        return 1.0
