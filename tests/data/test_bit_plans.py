"""Exercises of bits: what they show and ask for, and the batches of an epoch."""

import numpy as np
import pytest

from awd_jax.batches import Plan
from awd_jax.data.bits import EXERCISES, MOST_PROGRAMS, Size, even_plan, training_plan
from awd_jax.errors import InputError

B = 6
LENGTHS = {name: range(exercise.least, 6) for name, exercise in EXERCISES.items()}
each_exercise = pytest.mark.parametrize("name", EXERCISES)


def make_plan(name, seed=0, epoch=1, num_batches=5):
    return training_plan(name, LENGTHS[name], 3, (num_batches, B), seed, epoch)


def assert_equal(a, b):
    for ours, theirs in zip((*a[:3], *a.counts), (*b[:3], *b.counts), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def draw(name, length, repeats=1, most=1):
    random = np.random.RandomState(0)
    return EXERCISES[name].draw(random, Size(length, repeats), most, B)


# ---- what is shown, and what is asked for ----


def test_a_copy_is_of_what_was_shown():
    shown, answer = draw("copy", 4)
    assert (shown.shape, answer.shape) == ((5, B, 9), (4, B, 8))
    np.testing.assert_array_equal(shown[:-1, :, :8], answer)
    assert {*np.unique(answer)} == {0, 1}
    np.testing.assert_array_equal(
        shown[:, 0], [*([*row, 0] for row in answer[:, 0]), [0] * 8 + [1]]
    )
    assert np.ptp(answer, axis=1).any()  # sequences differ


def test_repeats_are_asked_for_by_a_number_and_end_with_a_mark():
    numbers = []
    for repeats in range(1, 8):
        shown, answer = draw("repeat_copy", 3, repeats, most=7)
        assert (shown.shape, answer.shape) == ((4, B, 10), (3 * repeats + 1, B, 9))
        for r in range(repeats):
            np.testing.assert_array_equal(answer[3 * r : 3 * r + 3, :, :8], shown[:3, :, :8])
        assert not answer[:-1, :, 8].any() and not shown[:3, :, 8:].any()
        np.testing.assert_array_equal(answer[-1], [[0] * 8 + [1]] * B)
        np.testing.assert_array_equal(shown[-1, :, :9], [[0] * 8 + [1]] * B)
        numbers.append(shown[-1, 0, 9])
    np.testing.assert_allclose([np.mean(numbers), np.var(numbers)], [0, 1], atol=1e-6)
    assert np.all(np.diff(numbers) > 0)
    assert draw("repeat_copy", 3, 1, most=1)[0][-1, 0, 9] == 0


@pytest.mark.parametrize("length", [2, 5])
def test_the_answer_is_the_item_after_the_one_that_is_shown_again(length):
    shown, answer = draw("associative_recall", length)
    assert (shown.shape, answer.shape) == ((4 * length + 5, B, 8), (3, B, 6))
    np.testing.assert_array_equal(shown[: 4 * length : 4, :, 6], np.ones((length, B)))
    np.testing.assert_array_equal(shown[[-5, -1], :, 7], np.ones((2, B)))
    assert shown[..., 6].sum() == length * B and shown[..., 7].sum() == 2 * B
    items = shown[: 4 * length].reshape(length, 4, B, 8)[:, 1:, :, :6]
    asked = set()
    for b in range(B):
        (place,) = (i for i in range(length) if np.array_equal(items[i, :, b], shown[-4:-1, b, :6]))
        np.testing.assert_array_equal(items[place + 1, :, b], answer[:, b])
        asked.add(place)
    assert len(asked) > 1 or length == 2


# ---- plans ----


@each_exercise
def test_a_batch_has_its_answer_after_what_it_shows_and_zeros_elsewhere(name):
    plan, exercise = make_plan(name), EXERCISES[name]
    assert isinstance(plan, Plan) and plan.num_sequences == B and plan.rate_factor(0) == 1
    num_tokens = 0
    for batch, size in zip(plan, plan.sizes.tolist(), strict=True):
        start, asked = exercise.num_steps(Size(*size))
        steps = np.arange(len(batch.inputs))
        is_asked = (start <= steps) & (steps < start + asked)
        np.testing.assert_array_equal(batch.weights, np.repeat(is_asked[:, None], B, axis=1))
        assert not batch.targets[~is_asked].any() and not batch.inputs[start:].any()
        assert batch.inputs[start - 1].any() and batch.targets[start : start + asked].any()
        assert batch.inputs.shape[2] == len(exercise.inputs)
        assert batch.targets.shape[2] == len(exercise.targets)
        assert tuple(batch.counts) == (asked * B, batch.weights[1:].sum())
        num_tokens += asked * B
    assert num_tokens == plan.num_tokens


@each_exercise
def test_all_follows_from_seed_epoch_and_position(name):
    plan, again = make_plan(name), make_plan(name)
    for position in (3, 0, 3):  # in any order: a run resumes in the midst of an epoch
        assert_equal(plan[position], again[position])
    contents = [
        make_plan(name, *seed)[0].inputs.sum(2).tobytes() for seed in ((0, 1), (0, 2), (1, 1))
    ]
    assert len({*contents}) == 3
    plan = training_plan(name, LENGTHS[name][:1], 1, (4, B), 0, 1)
    assert len({batch.targets.tobytes() for batch in plan}) == 4


@each_exercise
def test_parts_are_columns_of_the_whole(name):
    plan = make_plan(name)
    for whole, *parts in zip(plan, plan.part(slice(2)), plan.part(slice(2, 9)), strict=True):
        for array, *pieces in zip(whole[:3], *(part[:3] for part in parts), strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces, axis=1), array)
        assert {part.counts for part in parts} == {whole.counts}
    assert plan.part(slice(9, 12))[0].weights.shape[1] == 0
    assert_equal(plan.part(slice(1, 5)).part(slice(1, 3))[0], plan.part(slice(2, 4))[0])


@pytest.mark.parametrize(
    ("name", "lengths", "repeats"),
    [("copy", range(1, 21), 0), ("repeat_copy", range(1, 11), 10), ("copy", range(1, 121), 0)],
)
def test_training_draws_sizes_evenly_and_needs_few_programs(name, lengths, repeats):
    plan = training_plan(name, lengths, repeats, (4000, 1), 0, 1)
    for drawn, possible in zip(plan.sizes.T, (lengths, range(1, repeats + 1)), strict=True):
        counts = np.bincount(drawn)[1:]
        assert len(counts) == max(len(possible), 1) and counts.min() > 0.4 * counts.mean()
    shapes = {
        plan[int(i)].inputs.shape[0] for i in np.unique(plan.sizes, axis=0, return_index=True)[1]
    }
    assert len(shapes) <= MOST_PROGRAMS
    assert all(steps % 8 == 0 for steps in shapes)


def test_an_evaluation_takes_each_length_in_turn_and_is_always_the_same():
    plan, again, other = (even_plan("copy", range(3, 6), 0, (7, 4), split) for split in (1, 1, 2))
    assert plan.sizes[:, 0].tolist() == [3, 4, 5, 3, 4, 5, 3]
    for batch, same, another in zip(plan, again, other, strict=True):
        assert_equal(batch, same)
        assert (batch.targets != another.targets).any()


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed -1: must not be negative"):
        make_plan("copy", seed=-1)
