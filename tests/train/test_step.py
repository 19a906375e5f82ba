"""The training step: the same run on any number of devices, and what it adds up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import losses
from awd_jax.core.ntasgd import observe
from awd_jax.data.windows import Batch, batchify, window_batch
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.state import Purpose, init_state, make_key, make_model, merge_carry
from awd_jax.train.step import (
    AXIS,
    STATE_AXES,
    Regularisers,
    make_place,
    make_train_step,
    pmap_train_step,
)
from configs import default

B, V, BPTT = 8, 31, 16
STREAM = batchify(np.random.RandomState(0).randint(0, V, 4000).astype(np.int32), B)
REGULARISERS = Regularisers(2.0, 1.0)


@pytest.fixture(scope="module")
def parts():
    config = default.get_config("smoke")
    config.model.num_layers = 2
    config.optimizer.nonmono = 0
    model = make_model(config.model, V)
    optimizer = make_optimizer(config.optimizer)
    return model, optimizer, make_train_step(model, optimizer, REGULARISERS, seed=3)


def split(batch: Batch, num_devices: int) -> Batch:
    return jax.tree.map(lambda a: a.reshape(len(a), num_devices, -1), batch)


def train(parts, num_devices: int, num_steps: int = 12, lengths=(13, 16, 9)):
    model, optimizer, train_step = parts
    step = pmap_train_step(train_step, jax.devices()[:num_devices])
    state = init_state(model, optimizer, 3, B, num_devices)
    start = 0
    for i in range(num_steps):
        length = lengths[i % len(lengths)]
        batch = split(window_batch(STREAM, start, length, 16), num_devices)
        state = step(state, batch, np.int32(length), np.float32(30 * length / BPTT))
        if i == num_steps // 2:
            state = state._replace(opt_state=observe(observe(state.opt_state, 1.0), 2.0))
        start += length
    return state._replace(carry=merge_carry(state.carry))


@pytest.fixture(scope="module")
def on_one_device(parts):
    return train(parts, num_devices=1)


@pytest.mark.parametrize("num_devices", [2, 4])
def test_any_number_of_devices_gives_the_same_run_with_dropout_and_averaging(
    parts, on_one_device, num_devices
):
    state = train(parts, num_devices)
    assert state.step == 12
    assert optax_count(state) == 5
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), on_one_device, state
    )


def optax_count(state) -> int:
    return int(state.opt_state[-1].num_averaged)


def test_totals_are_those_of_the_losses_on_each_window(parts, on_one_device):
    assert on_one_device.totals.num_windows == 12
    assert on_one_device.totals.num_tokens == 4 * (13 + 16 + 9) * B
    assert on_one_device.totals.activation_reg > 0
    assert on_one_device.totals.temporal_activation_reg > 0
    assert on_one_device.first_bad_step == -1


def test_the_first_window_is_the_models_loss_under_the_masks_of_its_step(parts):
    model, optimizer, _ = parts
    state = train(parts, num_devices=1, num_steps=1, lengths=(13,))
    before = init_state(model, optimizer, 3, B, 1)
    batch = jax.tree.map(jnp.asarray, window_batch(STREAM, 0, 13, 13))
    masks = model.sample_masks(jax.random.fold_in(make_key(3, Purpose.MASKS), 0), jnp.arange(B))
    logits, output = model.forward(before.params, batch.inputs, model.initial_carry(B), masks)
    nll = jnp.sum(losses.token_nll(logits, batch.targets))
    np.testing.assert_allclose(state.totals.nll, nll, rtol=1e-5)
    np.testing.assert_allclose(state.carry[0].c, output.carry[0].c, rtol=1e-5, atol=1e-6)


def test_every_window_draws_its_own_masks(parts):
    model, _, _ = parts
    key = make_key(3, Purpose.MASKS)
    first, second = (
        model.sample_masks(jax.random.fold_in(key, step), jnp.arange(B)) for step in (0, 1)
    )
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.shape == b.shape
        assert not jnp.array_equal(a, b)


def test_the_step_knows_only_an_axis_name(parts):
    model, optimizer, train_step = parts
    batch = split(window_batch(STREAM, 0, 16, 16), 2)
    state = init_state(model, optimizer, 3, B, 2)
    length, rate = jnp.asarray(16), jnp.asarray(30.0)
    mapped = jax.jit(jax.vmap(train_step, (STATE_AXES, 1, None, None), 0, axis_name=AXIS))(
        state, jax.tree.map(jnp.asarray, batch), length, rate
    )
    pmapped = pmap_train_step(train_step, jax.devices()[:2])(state, batch, length, rate)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-6),
        mapped.params,
        pmapped.params,
    )


def test_the_first_step_that_is_not_finite_is_kept(parts):
    model, optimizer, train_step = parts
    step = pmap_train_step(train_step, jax.devices()[:1])
    state = init_state(model, optimizer, 3, B, 1)
    batch = split(window_batch(STREAM, 0, 16, 16), 1)
    for rate in (1.0, np.nan, 1.0, 1.0):
        state = step(state, batch, np.int32(16), np.float32(rate))
    assert state.first_bad_step == 2


def test_a_window_of_another_length_in_the_same_bucket_needs_no_new_program(parts):
    model, optimizer, train_step = parts
    num_traces = 0

    def counted(*args):
        nonlocal num_traces
        num_traces += 1
        return train_step(*args)

    devices = jax.devices()[:1]
    step = pmap_train_step(counted, devices)
    state = make_place(devices, STATE_AXES)(init_state(model, optimizer, 3, B, 1))
    for length in (16, 9, 12, 16):
        batch = split(window_batch(STREAM, 0, length, 16), 1)
        state = step(state, batch, np.int32(length), np.float32(length))
    assert num_traces == 1
