"""Pairs of similar lengths side by side: the shapes of batches, and the batches of an epoch.

A shape (S, T) holds sources of S tokens at most and targets of T, which ends with `<eos>`. The
shapes of a run are few, because each is a program to compile, and rise in both S and T.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Int, Int32

from awd_jax.batches import Counts, Pair
from awd_jax.data.pairs import Pairs, Ragged
from awd_jax.data.streams import stream
from awd_jax.errors import InputError

Shape = tuple[int, int]
CANDIDATES = 32  # lengths of a side among which shapes are chosen, the longest apart


@dataclasses.dataclass(frozen=True)
class PairPlan:
    """The batches of an epoch over pairs: a `Plan` of `Pair`s."""

    pairs: Pairs
    eos_id: int  # of the targets
    num_sequences: int  # of the whole batch
    batches: tuple[Int[np.ndarray, "_"], ...]  # the pairs of each; the last may have fewer
    shapes: tuple[Shape, ...]  # of each batch
    columns: range  # which sequences of a batch

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> Pair:
        members, (source_length, length) = self.batches[position], self.shapes[position]
        own = members[self.columns.start : self.columns.stop]
        sources, source_weights = self._padded(self.pairs.sources, own, source_length)
        targets, weights = self._padded(self.pairs.targets, own, length)
        inputs, real = np.zeros_like(targets), np.arange(len(own))
        inputs[1:] = targets[:-1]  # the last row of all is for the <eos>
        inputs[0, real] = self.eos_id
        ends = self.pairs.targets.lengths[own]
        targets[ends, real] = self.eos_id
        weights[ends, real] = 1
        num_tokens = int(self.pairs.targets.lengths[members].sum()) + len(members)
        counts = Counts(np.float32(num_tokens), np.float32(num_tokens - len(members)))
        return Pair(sources, source_weights, inputs, targets, weights, counts)

    def __iter__(self) -> Iterator[Pair]:
        return (self[position] for position in range(len(self)))

    def part(self, columns: slice) -> "PairPlan":
        """The same batches with these sequences alone; counts stay those of the whole batch."""
        return dataclasses.replace(self, columns=self.columns[columns])

    def members(self, position: int) -> Int[np.ndarray, "n"]:
        """Returns which pairs are in the whole batch, by column; columns after them are idle."""
        return self.batches[position]

    @property
    def num_tokens(self) -> int:
        """Number of real targets of the whole epoch, each `<eos>` included."""
        return len(self.pairs.targets.ids) + len(self.pairs)

    def rate_factor(self, position: int) -> float:
        """Batches of every length have the rate of the config."""
        return 1.0

    def _padded(
        self, ragged: Ragged, own: Int[np.ndarray, "n"], length: int
    ) -> tuple[Int32[np.ndarray, "{length} B"], Float32[np.ndarray, "{length} B"]]:
        """Returns sequences as columns, and their weights; idle columns follow them."""
        ids = np.zeros((length, len(self.columns)), np.int32)
        weights = np.zeros(ids.shape, np.float32)
        lengths, steps = ragged.lengths[own], np.arange(length)[:, None]
        is_real = steps < lengths
        places = ragged.ends[own] - lengths + steps
        ids[:, : len(own)][is_real] = ragged.ids[places[is_real]]
        weights[:, : len(own)] = is_real
        return ids, weights


def training_plan(
    pairs: Pairs, shapes: Sequence[Shape], batch_size: int, eos_id: int, seed: int, epoch: int
) -> PairPlan:
    """Returns the batches of a training epoch, whose order follows from (seed, epoch).

    Every pair is in one of them. What a bucket has beyond whole batches moves on to the next
    larger one, so only one batch is filled up with idle pairs.

    Args:
      pairs: of train.
      shapes: what `choose_shapes` returns.
      batch_size: B.
      eos_id: the id of `<eos>` among the targets.
      seed: with the epoch, all that the order follows from.
      epoch: from 1 on.

    Raises:
      InputError: the batch size is not positive, or the seed is negative.
    """
    random = stream(seed, epoch)
    plan = _plan(pairs, shapes, batch_size, eos_id, random.permutation(len(pairs)))
    order = random.permutation(len(plan)).tolist()
    return dataclasses.replace(
        plan,
        batches=tuple(plan.batches[i] for i in order),
        shapes=tuple(plan.shapes[i] for i in order),
    )


def even_plan(pairs: Pairs, shapes: Sequence[Shape], batch_size: int, eos_id: int) -> PairPlan:
    """Returns batches for evaluation: every pair once, from short to long, nothing at random.

    Raises:
      InputError: the batch size is not positive.
    """
    return _plan(pairs, shapes, batch_size, eos_id, np.arange(len(pairs)))


def choose_shapes(train: Pairs, others: Sequence[Pairs], num_buckets: int) -> tuple[Shape, ...]:
    """Returns the shapes, at most `num_buckets`, with the fewest padded steps S + T over train.

    The last one holds every pair of all splits. Of very many lengths, only some are considered.

    Raises:
      InputError: the number of buckets is not positive.
    """
    if num_buckets < 1:
        raise InputError(f"{num_buckets} buckets", "must be 1 or more", "raise the number")
    lengths = _lengths(train)
    largest = np.max([_lengths(pairs).max(axis=0) for pairs in (train, *others)], axis=0)
    candidates = _candidates(lengths, largest)
    kinds, num = np.unique(lengths, axis=0, return_counts=True)
    fitting = np.array([num[(kinds <= shape).all(axis=1)].sum() for shape in candidates])
    steps = candidates.sum(axis=1)
    # extra[a, b]: steps in shape b of the pairs that fit b but not a, where a is a shape below b.
    extra = (fitting - fitting[:, None]) * steps.astype(np.float64)
    is_below = (candidates[:, None] <= candidates).all(axis=2)
    extra[~is_below] = np.inf
    # best[b]: fewest steps of the pairs that fit b, if b is the last of the shapes so far.
    best = fitting * steps.astype(np.float64)
    came_from = []
    for _ in range(min(num_buckets, len(candidates)) - 1):
        total = best[:, None] + extra  # [a, a] adds nothing: fewer shapes are as good
        came_from.append(total.argmin(axis=0))
        best = total.min(axis=0)
    chosen = [len(candidates) - 1]
    for previous in reversed(came_from):
        chosen.append(int(previous[chosen[-1]]))
    shapes = {tuple(candidates[index].tolist()) for index in chosen if fitting[index]}
    return tuple(sorted(shapes | {tuple(largest.tolist())}))


def _candidates(
    lengths: Int[np.ndarray, "N 2"], largest: Int[np.ndarray, "2"]
) -> Int[np.ndarray, "C 2"]:
    """Returns shapes made of lengths that occur, in rising order; the last one is the largest."""
    sides = []
    for side in range(2):
        rising = np.sort(lengths[:, side])
        places = np.linspace(0, len(rising) - 1, CANDIDATES).round().astype(int)
        occurring = np.unique(rising)
        few = occurring if len(occurring) <= CANDIDATES else np.unique(rising[places])
        sides.append(np.unique([*few, largest[side]]))
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)


def _plan(
    pairs: Pairs,
    shapes: Sequence[Shape],
    batch_size: int,
    eos_id: int,
    order: Int[np.ndarray, "N"],
) -> PairPlan:
    """Returns batches of pairs, taken in this order from each bucket, the smallest first."""
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}", "must be 1 or more", "raise it")
    fits = np.all(_lengths(pairs)[:, None] <= np.array(shapes), axis=2)
    if not fits.any(axis=1).all():
        raise ValueError(f"a pair fits none of the shapes {shapes}")
    buckets = fits.argmax(axis=1)
    # Stable: so the rest of a bucket, cut into batches, is at the head of the next larger one.
    order = order[np.argsort(buckets[order], kind="stable")]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    own = tuple(shapes[buckets[batch[-1]]] for batch in batches)
    return PairPlan(pairs, eos_id, batch_size, tuple(batches), own, range(batch_size))


def _lengths(pairs: Pairs) -> Int[np.ndarray, "N 2"]:
    """Returns how long sources and targets are, the `<eos>` of these included."""
    return np.stack([pairs.sources.lengths, pairs.targets.lengths + 1], axis=1)
