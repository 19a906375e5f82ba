import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awd_jax.batches import Plan
from awd_jax.data.buckets import choose_shapes, even_plan, training_plan
from awd_jax.data.pairs import Pairs, Ragged
from awd_jax.errors import InputError

EOS_ID = 7


def pairs_of(lengths):
    """Pairs of these lengths; every id is a number of its own, from 100 on."""
    numbers = itertools.count(100)

    def sequence(length):
        return np.array([next(numbers) for _ in range(length)], np.int32)

    sources = Ragged.of([sequence(s) for s, _ in lengths])
    return Pairs(sources, Ragged.of([sequence(t) for _, t in lengths]))


any_lengths = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=40)


def random_pairs(num=300, longest=30, seed=0):
    random = np.random.RandomState(seed)
    sources = random.randint(1, longest + 1, size=num)
    targets = np.clip(sources + random.randint(-3, 4, size=num), 1, None)
    return pairs_of(list(zip(sources.tolist(), targets.tolist(), strict=True)))


def plans(pairs, batch_size, num_buckets=4, seed=0, epoch=1):
    shapes = choose_shapes(pairs, (), num_buckets)
    return (
        training_plan(pairs, shapes, batch_size, EOS_ID, seed, epoch),
        even_plan(pairs, shapes, batch_size, EOS_ID),
    )


# ---- shapes ----


@given(any_lengths, any_lengths, st.integers(1, 6))
def test_shapes_are_few_and_rise_and_hold_all(train, other, num_buckets):
    shapes = choose_shapes(pairs_of(train), [pairs_of(other)], num_buckets)
    assert 1 <= len(shapes) <= num_buckets
    for (s, t), (s_next, t_next) in itertools.pairwise(shapes):
        assert s <= s_next and t <= t_next and (s, t) != (s_next, t_next)
    every = [*train, *other]
    assert shapes[-1] == (max(s for s, _ in every), max(t for _, t in every) + 1)


def steps(shapes, lengths):
    return sum(next(s + t for s, t in shapes if a <= s and b + 1 <= t) for a, b in lengths)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=9),
    st.integers(1, 3),
)
def test_no_other_shapes_have_fewer_steps(lengths, num_buckets):
    """All chains of shapes are tried."""
    shapes = choose_shapes(pairs_of(lengths), (), num_buckets)
    grid = list(itertools.product(range(1, 5), range(2, 5)))
    fewest = min(
        steps((*chain, shapes[-1]), lengths)
        for chain in itertools.combinations_with_replacement(grid, num_buckets - 1)
        if all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise((*chain, shapes[-1])))
    )
    assert steps(shapes, lengths) == fewest


def test_a_few_shapes_leave_little_padding_of_many_lengths():
    pairs = random_pairs(4_000, longest=200)
    real = len(pairs.sources.ids) + len(pairs.targets.ids) + len(pairs)
    padded = [
        steps(
            choose_shapes(pairs, (), num),
            zip(pairs.sources.lengths.tolist(), pairs.targets.lengths.tolist(), strict=True),
        )
        for num in (1, 4, 8)
    ]
    assert padded[0] > 1.9 * real
    assert padded[1] < 1.27 * real
    assert padded[2] < 1.15 * real


def test_a_pair_that_is_longer_in_another_split_has_a_shape_of_its_own():
    shapes = choose_shapes(pairs_of([(3, 3)] * 5), [pairs_of([(9, 8)])], 2)
    assert shapes == ((3, 4), (9, 9))


# ---- a batch ----


def test_a_batch_by_hand():
    pairs = pairs_of([(2, 1), (3, 3), (1, 1)])
    (batch,) = even_plan(pairs, [(4, 5)], 4, EOS_ID)
    ids, targets = pairs.sources.ids, pairs.targets.ids
    assert ids.tolist() == [100, 101, 102, 103, 104, 105]
    assert targets.tolist() == [106, 107, 108, 109, 110]
    assert batch.sources.T.tolist() == [
        [100, 101, 0, 0],
        [102, 103, 104, 0],
        [105, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert batch.source_weights.T.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0] * 4]
    assert batch.inputs.T.tolist() == [
        [7, 106, 0, 0, 0],
        [7, 107, 108, 109, 0],
        [7, 110, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert batch.targets.T.tolist() == [
        [106, 7, 0, 0, 0],
        [107, 108, 109, 7, 0],
        [110, 7, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert batch.weights.T.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0] * 5]
    assert batch.counts == (8, 5)
    dtypes = [array.dtype for array in (*batch[:5], *batch.counts)]
    assert dtypes == [np.int32, np.float32, np.int32, np.int32, np.float32, np.float32, np.float32]


@given(any_lengths, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_every_pair_is_in_an_epoch_once(lengths, batch_size, num_buckets, seed):
    pairs = pairs_of(lengths)
    for plan in plans(pairs, batch_size, num_buckets, seed):
        assert isinstance(plan, Plan)
        seen = []
        for position, batch in enumerate(plan):
            members = plan.members(position)
            seen += members.tolist()
            for column in range(batch_size):
                is_real = column < len(members)
                source = batch.sources[:, column][batch.source_weights[:, column] == 1]
                target = batch.targets[:, column][batch.weights[:, column] == 1]
                read = batch.inputs[:, column][batch.weights[:, column] == 1]
                if is_real:
                    index = int(members[column])
                    assert (source == pairs.sources[index]).all()
                    assert target.tolist() == [*pairs.targets[index], EOS_ID]
                    assert read.tolist() == [EOS_ID, *pairs.targets[index]]
                else:
                    assert not any(array[:, column].any() for array in batch[:5])
            for weights in (batch.source_weights, batch.weights):
                assert (np.diff(weights, axis=0) <= 0).all()  # padding comes last
            assert batch.counts.tokens == batch.weights.sum()
            assert batch.counts.pairs == batch.weights[1:].sum()
        assert sorted(seen) == list(range(len(lengths)))
        assert len(plan) == -(-len(lengths) // batch_size)
        assert plan.num_tokens == sum(batch.counts.tokens for batch in plan)
        assert plan.num_sequences == batch_size
        assert plan.rate_factor(0) == 1


@given(any_lengths, st.integers(1, 6), st.data())
def test_parts_of_a_plan_are_its_columns_with_the_counts_of_the_whole(lengths, b, data):
    cut = data.draw(st.integers(0, b))
    for plan in plans(pairs_of(lengths), b):
        # The last of several processes may reach past the batch.
        parts = [plan.part(slice(0, cut)), plan.part(slice(cut, b + 3)), plan.part(slice(b, b + 3))]
        for whole, *some in zip(plan, *parts, strict=True):
            for joined, array in zip(zip(*some, strict=True), whole, strict=True):
                if array is whole.counts:
                    assert set(joined) == {whole.counts}
                else:
                    assert (np.concatenate(joined, axis=1) == array).all()
        assert {p.num_tokens for p in parts} == {plan.num_tokens}
        assert {p.num_sequences for p in parts} == {b}
        inner = plan.part(slice(1, b)).part(slice(0, 1))
        assert (inner[0].inputs == plan[0].inputs[:, 1:2]).all()


# ---- an epoch ----


def order(plan):
    return [plan.members(position).tolist() for position in range(len(plan))]


def test_the_order_follows_from_seed_and_epoch():
    pairs = random_pairs()

    def at(seed, epoch):
        return order(plans(pairs, 16, seed=seed, epoch=epoch)[0])

    assert at(3, 4) == at(3, 4)
    assert len({str(at(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_order_is_frozen():
    """A resumed run must see the batches that the first one saw, whatever numpy it finds."""
    plan = training_plan(random_pairs(20), [(10, 14), (31, 40)], 6, EOS_ID, seed=141, epoch=1)
    assert order(plan) == [
        [1, 11],
        [7, 3, 19, 14, 8, 4],
        [6, 12, 5, 18, 17, 10],
        [13, 9, 0, 15, 16, 2],
    ]


def test_batches_are_in_no_order_of_length_in_training_and_rise_in_evaluation():
    training, even = plans(random_pairs(3_000), 16)
    assert list(even.shapes) == sorted(even.shapes)
    assert len(set(training.shapes[: len(training) // 4])) == 4
    assert sorted(training.shapes) == list(even.shapes)


def test_a_pair_is_in_the_smallest_shape_unless_it_moved_on():
    pairs = random_pairs(3_000)
    shapes = choose_shapes(pairs, (), 4)
    for plan in plans(pairs, 16):
        moved = 0
        for position, shape in enumerate(plan.shapes):
            members = plan.members(position)
            own = [
                next(
                    s
                    for s in shapes
                    if len(pairs.sources[i]) <= s[0] and len(pairs.targets[i]) < s[1]
                )
                for i in members.tolist()
            ]
            assert max(own) == shape
            moved += sum(s != shape for s in own)
        assert moved <= 15 * 3


def test_an_evaluation_keeps_the_order_within_a_bucket():
    plan = even_plan(pairs_of([(1, 1), (9, 9), (2, 1), (8, 1), (1, 1)]), [(2, 2), (9, 10)], 2, 0)
    assert order(plan) == [[0, 2], [4, 1], [3]]
    assert plan.shapes == ((2, 2), (9, 10), (9, 10))


def test_a_split_smaller_than_a_batch_is_filled_up():
    for plan in plans(pairs_of([(2, 1), (3, 3)]), 100):
        (batch,) = plan
        assert batch.inputs.shape == (4, 100)
        assert batch.counts == (6, 4)


def test_a_position_beyond_the_epoch_is_an_error():
    for plan in plans(random_pairs(), 16):
        with pytest.raises(IndexError):
            plan[len(plan)]


def test_wrong_settings_are_refused():
    pairs = pairs_of([(2, 1)])
    with pytest.raises(InputError, match="0 buckets"):
        choose_shapes(pairs, (), 0)
    with pytest.raises(InputError, match="batch size 0"):
        even_plan(pairs, [(2, 2)], 0, EOS_ID)
    with pytest.raises(InputError, match="seed -1"):
        training_plan(pairs, [(2, 2)], 1, EOS_ID, -1, 1)
    with pytest.raises(ValueError, match="fits none"):
        even_plan(pairs, [(2, 1)], 1, EOS_ID)


def test_sources_alone_are_pairs_with_empty_targets():
    pairs = pairs_of([(2, 0), (3, 0)])
    (batch,) = even_plan(pairs, choose_shapes(pairs, (), 1), 2, EOS_ID)
    assert batch.sources.T.tolist() == [[100, 101, 0], [102, 103, 104]]
    assert batch.inputs.tolist() == batch.targets.tolist() == [[EOS_ID, EOS_ID]]
