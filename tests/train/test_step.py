"""The training step: the same run on any number of devices, and what it adds up."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.run.replicas import AXIS
from awd_jax.train.state import Purpose, init_state, make_key
from awd_jax.train.step import STATE_AXES, TRAIN_AXES
from tests.many import SECONDS, forced_devices
from tests.train.fifty_steps import (
    NUM_STEPS,
    SEED,
    B,
    first_state,
    leaves,
    make_parts,
    make_replicas,
    train,
    window,
)


@pytest.fixture(scope="module")
def parts():
    return make_parts()


@pytest.fixture(scope="module")
def on_one_device(parts):
    return train(parts, num_devices=1)


def train_on_eight(directory: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """In a process of its own, with the eight devices that this one has not."""
    subprocess.run(
        [sys.executable, "-m", "tests.train.fifty_steps", "8", directory / "run.npz"],
        env={**os.environ, **forced_devices(8)},
        check=True,
        timeout=SECONDS,
    )
    with np.load(directory / "run.npz") as arrays:
        *state, nlls = arrays.values()
    return state, nlls


@pytest.mark.parametrize("num_devices", [2, 4, 8])
def test_any_number_of_devices_gives_the_same_run_with_dropout_and_averaging(
    parts, on_one_device, num_devices, tmp_path
):
    state, nlls = on_one_device
    assert state.step == NUM_STEPS
    assert state.opt_state[-1].num_averaged == NUM_STEPS // 2 - 1
    if num_devices == 8:
        other, other_nlls = train_on_eight(tmp_path)
    else:
        other, other_nlls = train(parts, num_devices)
    # Float32 rounds to 6e-8, in sums that devices part otherwise.
    np.testing.assert_allclose(other_nlls, nlls, rtol=1e-5)
    for a, b in zip(leaves(state), leaves(other), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def compiled_step(parts, num_devices):
    replicas = make_replicas(num_devices)
    step = replicas.pmap(parts[-1], *TRAIN_AXES)
    state = first_state(parts, replicas)
    batch = replicas.split(window(0, 16), B)
    return step.lower(state, batch, np.float32(1)).compile().as_text()


@pytest.mark.parametrize(("num_devices", "expected"), [(1, 0), (4, 1)])
def test_a_step_has_one_all_reduce_and_none_in_its_loops(parts, num_devices, expected):
    text = compiled_step(parts, num_devices)
    # A computation begins with its name at the start of a line, and ends with a brace there.
    computations = re.findall(r"^(ENTRY )?%?(\S+) .*?\{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    calls = {name: re.findall(r" all-reduce(?:-start)?\(", body) for _, name, body in computations}
    assert sum(map(len, calls.values())) == expected
    assert len(calls[next(name for entry, name, _ in computations if entry)]) == expected
    assert text.count(" while(") >= 4  # two layers, forward and backward


def test_totals_are_those_of_the_losses_on_each_window(parts, on_one_device):
    state, _ = on_one_device
    assert state.totals.num_windows == NUM_STEPS
    assert state.totals.num_tokens == (16 * (13 + 16 + 9) + 13 + 16) * B
    assert state.totals.activation_reg > 0
    assert state.totals.temporal_activation_reg > 0
    assert state.first_bad_step == -1


def test_the_first_window_is_the_models_loss_under_the_masks_of_its_step(parts):
    model, optimizer, _ = parts
    state, _ = train(parts, num_devices=1, num_steps=1, lengths=(13,))
    before = init_state(model, optimizer, SEED, B)
    batch = jax.tree.map(jnp.asarray, window(0, 13, padded_length=13))
    key = jax.random.fold_in(make_key(SEED, Purpose.MASKS), 0)
    masks = model.sample_masks(key, jnp.arange(B), batch)
    score = model.score(before.params, batch, model.initial_carry(B), masks)
    np.testing.assert_allclose(state.totals.nll, score.nll, rtol=1e-5)
    np.testing.assert_allclose(state.carry[0].c, score.carry[0].c, rtol=1e-5, atol=1e-6)


def test_every_window_draws_its_own_masks(parts):
    model, _, _ = parts
    key = make_key(SEED, Purpose.MASKS)
    first, second = (
        model.sample_masks(jax.random.fold_in(key, step), jnp.arange(B), window(0, 16))
        for step in (0, 1)
    )
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.shape == b.shape
        assert not jnp.array_equal(a, b)


def test_the_step_knows_only_an_axis_name(parts):
    replicas, train_step = make_replicas(2), parts[-1]
    batch = replicas.split(window(0, 16), B)
    state = first_state(parts, replicas)
    rate = jnp.asarray(30.0)
    mapped = jax.jit(jax.vmap(train_step, (STATE_AXES, 0, None), 0, axis_name=AXIS))(
        state, jax.tree.map(jnp.asarray, batch), rate
    )
    pmapped = replicas.pmap(train_step, *TRAIN_AXES)(state, batch, rate)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-6),
        mapped.params,
        pmapped.params,
    )


def test_the_first_step_that_is_not_finite_is_kept(parts):
    replicas = make_replicas(1)
    step = replicas.pmap(parts[-1], *TRAIN_AXES)
    state = first_state(parts, replicas)
    batch = replicas.split(window(0, 16), B)
    for rate in (1.0, np.nan, 1.0, 1.0):
        state = step(state, batch, np.float32(rate))
    assert state.first_bad_step == 2


def test_a_window_of_another_length_in_the_same_bucket_needs_no_new_program(parts):
    replicas, train_step = make_replicas(1), parts[-1]
    num_traces = 0

    def counted(*args):
        nonlocal num_traces
        num_traces += 1
        return train_step(*args)

    step = replicas.pmap(counted, *TRAIN_AXES)
    state = replicas.put(first_state(parts, replicas), STATE_AXES, donate=False)
    for length in (16, 9, 12, 16):
        batch = replicas.split(window(0, length), B)
        state = step(state, batch, np.float32(length))
    assert num_traces == 1
