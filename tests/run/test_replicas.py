"""The axis of devices: what is refused, who has which sequences, and that nothing gets mixed up."""

import jax
import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.run.replicas import Replicas
from configs import default


def make_replicas(num_devices: int) -> Replicas:
    return Replicas(jax.devices()[:num_devices])


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(9, "to 8 or 12"), (21, "to 20 or 24"), (3, "to 4")]
)
def test_a_batch_that_does_not_divide_is_told_the_sizes_that_would(batch_size, sizes):
    config = default.get_config().train
    config.batch_size = batch_size
    with pytest.raises(InputError, match=f"multiple of the 4 devices; .* {sizes}$"):
        make_replicas(4).check_batch(config)
    config.batch_size = 12
    make_replicas(4).check_batch(config)


@pytest.mark.parametrize(("batch_size", "shares"), [(8, [4, 4]), (5, [4, 1]), (1, [1, 0])])
def test_every_sequence_belongs_to_one_process(monkeypatch, batch_size, shares):
    replicas = make_replicas(2)
    replicas.count = 4  # the other two are of another process
    sequences, parts = np.arange(batch_size), []
    for process in (0, 1):
        monkeypatch.setattr("jax.process_index", lambda process=process: process)
        parts.append(sequences[replicas.share(batch_size)])
        assert replicas.width(batch_size) == 2 * -(-batch_size // 4)
    assert [len(part) for part in parts] == shares
    np.testing.assert_array_equal(np.concatenate(parts), sequences)


def test_a_batch_is_filled_up_with_idle_sequences_and_its_scalars_stay():
    batch = {"plain": np.arange(6).reshape(2, 3), "deep": np.ones((2, 3, 5)), "length": np.int32(7)}
    split = make_replicas(2).split(batch, width=4)
    np.testing.assert_array_equal(split["plain"], [[[0, 1], [3, 4]], [[2, 0], [5, 0]]])
    assert split["deep"].shape == (2, 2, 2, 5)
    assert split["deep"].sum() == batch["deep"].sum()
    assert split["length"].tolist() == [7, 7]
    nothing = make_replicas(2).split(np.ones((3, 0)), width=2)  # of a process without sequences
    np.testing.assert_array_equal(nothing, np.zeros((2, 3, 1)))


B = 8
CARRY = {
    "rank 1": np.arange(B),
    "rank 3": np.arange(B * 6.0).reshape(B, 2, 3),
    "rank 4": np.arange(B * 24).reshape(B, 2, 3, 4),
    "nothing": np.zeros((B, 0, 5)),
}


@pytest.mark.parametrize("num_devices", [1, 2, 4])
@pytest.mark.parametrize("carry", [CARRY, ()])
def test_leaves_of_any_rank_are_split_by_sequence_and_merged_again(num_devices, carry):
    replicas = make_replicas(num_devices)
    split = replicas.split_carry(carry)
    for leaf, whole in zip(jax.tree.leaves(split), jax.tree.leaves(carry), strict=True):
        assert leaf.shape == (num_devices, B // num_devices, *whole.shape[1:])
        np.testing.assert_array_equal(leaf[-1], whole[-B // num_devices :])
    on_devices = replicas.put(split, 0, donate=False)
    for merged in (replicas.merge_carry(on_devices), replicas.gather_carry(on_devices)):
        jax.tree.map(np.testing.assert_array_equal, merged, carry)
    jax.tree.map(np.testing.assert_array_equal, replicas.scatter_carry(carry), split)


def test_what_was_put_is_where_a_program_leaves_it():
    """Else a program would be compiled again for it."""
    replicas = make_replicas(2)
    axes = (None, 0)
    num_traces = 0

    def step(shared, own):
        nonlocal num_traces
        num_traces += 1
        return shared, own + shared

    mapped = replicas.pmap(step, axes, axes, donate=())
    state = replicas.put((np.float32(1), np.zeros((2, 3), np.float32)), axes, donate=True)
    for _ in range(3):
        state = mapped(*replicas.put(state, axes, donate=True))
    assert num_traces == 1
    np.testing.assert_array_equal(state[1], np.full((2, 3), 3))


def test_the_same_axes_in_another_structure_are_another_place():
    replicas = make_replicas(2)
    flat = replicas.put((np.float32(1), np.zeros((2, 3))), (None, 0), donate=False)
    nested = replicas.put((np.zeros((2, 3)), np.float32(1)), (0, None), donate=False)
    jax.tree.map(np.testing.assert_array_equal, flat, nested[::-1])


@pytest.mark.parametrize("num_devices", [1, 4])
def test_the_most_of_each_vote_counts(num_devices):
    np.testing.assert_array_equal(make_replicas(num_devices).most(np.array([15, 0])), [15, 0])
