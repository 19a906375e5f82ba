import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awd_jax.batches import Plan
from awd_jax.data.windows import (
    WindowPlan,
    Windows,
    batchify,
    bucket,
    epoch_windows,
    even_plan,
    fixed_windows,
    padded_length,
    training_plan,
)
from awd_jax.errors import InputError


def stream_of(num_tokens: int, batch_size: int):
    return batchify(np.arange(num_tokens, dtype=np.int32), batch_size)


@given(st.integers(1, 20), st.integers(2, 50), st.integers(0, 19))
def test_batchify_makes_contiguous_streams_and_drops_the_remainder(batch_size, rows, rest):
    stream = stream_of(batch_size * rows + rest % batch_size, batch_size)
    assert stream.shape == (rows, batch_size)
    assert stream.T.ravel().tolist() == list(range(batch_size * rows))


def test_columns_are_read_without_the_others():
    tokens = np.arange(12, dtype=np.int32)
    part = even_plan(batchify(tokens, 3), 2).part(slice(1, 2))
    assert np.shares_memory(part.stream, tokens)
    assert part[0].inputs.tolist() == [[4], [5]]


@pytest.mark.parametrize(("num_tokens", "batch_size"), [(5, 3), (1, 1), (0, 1), (10, 0), (10, -2)])
def test_a_batch_that_does_not_fit_is_refused(num_tokens, batch_size):
    with pytest.raises(InputError, match=f"batch size {batch_size}: "):
        stream_of(num_tokens, batch_size)


def assert_consecutive(windows, num_rows):
    ends = windows.starts + windows.lengths
    assert (windows.lengths > 0).all()
    assert windows.starts.tolist() == [0, *ends[:-1].tolist()]
    assert ends[-1] == num_rows - 1


@given(st.integers(2, 3000), st.integers(1, 100), st.integers(0), st.integers(0, 10**6))
def test_epoch_windows_cover_each_row_once(num_rows, bptt, seed, epoch):
    windows = epoch_windows(num_rows, bptt, seed, epoch)
    assert_consecutive(windows, num_rows)
    assert (windows.lengths[:-1] >= 5).all()


@given(st.integers(2, 3000), st.integers(1, 100))
def test_fixed_windows_cover_each_row_once(num_rows, length):
    windows = fixed_windows(num_rows, length)
    assert_consecutive(windows, num_rows)
    assert (windows.lengths[:-1] == length).all()
    assert windows.lengths[-1] <= length


def test_windows_follow_from_seed_and_epoch():
    def lengths(seed, epoch):
        return epoch_windows(5000, 70, seed, epoch).lengths.tolist()

    assert lengths(3, 4) == lengths(3, 4)
    assert len({tuple(lengths(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_stream_of_windows_is_frozen():
    """A resumed run must see the windows that the first one saw, whatever numpy it finds."""
    windows = epoch_windows(46_479, 70, seed=141, epoch=1)
    assert windows.lengths[:12].tolist() == [67, 66, 64, 67, 80, 67, 70, 58, 66, 64, 39, 72]
    assert len(windows.lengths) == 686


def test_window_lengths_have_the_published_distribution():
    """Mean 67.75, P(> 80) = 1.3 %, a twentieth around bptt / 2."""
    lengths = epoch_windows(4_000_000, 70, seed=0, epoch=0).lengths
    assert abs(lengths.mean() - 67.75) < 0.15
    assert abs((lengths > 80).mean() - 0.013) < 0.002
    assert abs((lengths < 52).mean() - 0.05) < 0.003
    short = lengths[lengths < 52]
    assert abs(short.mean() - 34.5) < 0.5  # int() takes half a token off the mean


@given(st.integers(1, 200))
def test_bucket_is_the_next_multiple_of_8(length):
    assert bucket(length) % 8 == 0
    assert length <= bucket(length) < length + 8


@pytest.mark.parametrize("bptt", [70, 140, 150, 200])
def test_a_run_has_a_dozen_padded_lengths_and_little_padding(bptt):
    lengths = np.concatenate(
        [epoch_windows(4_000, bptt, 0, epoch).lengths for epoch in range(300)]
    ).tolist()
    padded = [padded_length(length, bptt) for length in lengths]
    assert len(set(padded)) <= 12
    assert sum(padded) < 1.06 * sum(lengths)


@given(st.integers(1, 300), st.integers(1, 200))
def test_a_padded_length_is_a_bucket_that_holds_the_window(length, bptt):
    assert padded_length(length, bptt) >= length
    assert padded_length(length, bptt) % 8 == 0


@given(st.integers(2, 60), st.integers(1, 4), st.data())
def test_a_window_has_its_rows_and_then_padding(rows, batch_size, data):
    stream = stream_of(rows * batch_size, batch_size) + np.int32(1)
    start = data.draw(st.integers(0, rows - 2))
    length = data.draw(st.integers(1, rows - 1 - start))
    padded = data.draw(st.integers(length, 100))
    windows = Windows(np.array([start]), np.array([length]))
    batch = WindowPlan(stream, batch_size, windows, np.array([padded]), 70)[0]
    for array, dtype in zip(batch[:3], (np.int32, np.int32, np.float32), strict=True):
        assert array.shape == (padded, batch_size)
        assert array.dtype == dtype
        assert not array[length:].any()
    assert (batch.inputs[:length] == stream[start : start + length]).all()
    assert (batch.targets[:length] == batch.inputs[:length] + 1).all()
    assert (batch.weights[:length] == 1).all()
    assert batch.length == length and batch.length.dtype == np.int32
    assert batch.counts.tokens == batch.weights.sum()
    assert batch.counts.pairs == batch.weights[1:].sum()
    assert {count.dtype for count in batch.counts} == {np.dtype(np.float32)}


def plans(stream, bptt, seed=0):
    return training_plan(stream, bptt, seed, 1), even_plan(stream, bptt)


@given(st.integers(2, 400), st.integers(1, 4), st.integers(1, 80), st.integers(0, 5))
def test_an_epoch_predicts_every_token_but_the_first_once(rows, batch_size, bptt, seed):
    stream = stream_of(rows * batch_size, batch_size)
    for plan in plans(stream, bptt, seed):
        assert isinstance(plan, Plan)
        batches = list(plan)
        assert len(batches) == len(plan)
        seen = np.concatenate([b.targets[b.weights[:, 0] == 1] for b in batches])
        assert (seen == stream[1:]).all()
        assert plan.num_sequences == batch_size
        assert plan.num_tokens == seen.size == sum(b.counts.tokens for b in batches)


def test_windows_are_padded_to_the_lengths_that_a_run_compiles():
    stream = stream_of(9_000, 3)
    training, even = plans(stream, 70)
    assert [len(b.inputs) for b in training] == [padded_length(int(b.length), 70) for b in training]
    assert {len(b.inputs) for b in even} == {70}
    assert even[-1].length == (3_000 - 1) % 70


def test_a_window_far_longer_than_the_text_needs_no_more_memory_than_it():
    (batch,) = training_plan(stream_of(30, 1), 10**9, 0, 1)
    assert len(batch.inputs) < 100


def test_the_rate_follows_the_length():
    training, even = plans(stream_of(9_000, 3), 70)
    for position, batch in enumerate(training):
        assert training.rate_factor(position) == batch.length / 70
    assert even.rate_factor(0) == 1


@given(st.integers(2, 60), st.integers(1, 6), st.integers(1, 30), st.data())
def test_parts_of_a_plan_are_its_columns_with_the_counts_of_the_whole(rows, b, bptt, data):
    cut = data.draw(st.integers(0, b))
    for plan in plans(stream_of(rows * b, b), bptt):
        parts = [plan.part(slice(0, cut)), plan.part(slice(cut, b))]
        for whole, *halves in zip(plan, *parts, strict=True):
            for name in ("inputs", "targets", "weights"):
                joined = np.concatenate([getattr(half, name) for half in halves], axis=1)
                assert (joined == getattr(whole, name)).all()
            assert all(half[3:] == whole[3:] for half in halves)
        assert {p.num_tokens for p in parts} == {plan.num_tokens}
        assert {p.num_sequences for p in parts} == {b}


def test_a_position_beyond_the_epoch_is_an_error():
    for plan in plans(stream_of(30, 1), 7):
        with pytest.raises(IndexError):
            plan[len(plan)]


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="bptt 0"):
        epoch_windows(10, 0, 0, 0)
    with pytest.raises(InputError, match="seed -1"):
        epoch_windows(10, 5, -1, 0)
    with pytest.raises(InputError, match="window length 0"):
        fixed_windows(10, 0)
