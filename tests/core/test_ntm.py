"""The heads and the start of the neural Turing machine; its steps are in test_cells.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.addressing import Address, address, read, write
from awd_jax.core.ntm import FIRST_MEMORY, NTMState, begin, ntm

B, N, W, D, H = 3, 6, 4, 5, 14
R = 2  # heads that read, and heads that write
T = 5
CELL = ntm("scan", N, W, memory_heads=R)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


def make_address(heads, width, *, seed=0):
    """Of numbers at random."""
    return Address(
        normal(B, heads, width, seed=seed),
        jnp.exp(normal(B, heads, 1, seed=seed)),
        jax.nn.sigmoid(normal(B, heads, 1, seed=seed)),
        jax.nn.softmax(normal(B, heads, 3, seed=seed)),
        1 + jnp.exp(normal(B, heads, 1, seed=seed + 1)),
    )


def make_weights(heads=2):
    return jax.nn.softmax(2 * normal(B, heads, N))


def shift_by(rows, max_shift=1):
    return jnp.zeros((B, 2, 2 * max_shift + 1)).at[..., rows + max_shift].set(1.0)


# ---- heads ----


@pytest.mark.parametrize(("rows", "max_shift"), [(0, 1), (1, 1), (-1, 1), (2, 2), (-2, 2), (0, 0)])
def test_a_head_that_only_moves_keeps_its_weights(rows, max_shift):
    """By so many rows, in a circle."""
    still = make_address(2, W)._replace(
        gate=jnp.zeros((B, 2, 1)),
        shift=shift_by(rows, max_shift),
        sharpness=jnp.ones((B, 2, 1)),
    )
    moved = address(still, normal(B, N, W), make_weights())
    np.testing.assert_allclose(moved, np.roll(make_weights(), rows, axis=-1), rtol=2e-6)


def test_weights_always_sum_to_one():
    for seed in range(5):
        found = address(make_address(2, W, seed=seed), normal(B, N, W), make_weights())
        assert jnp.all(found >= 0)
        np.testing.assert_allclose(found.sum(-1), np.ones((B, 2)), rtol=1e-5)


def test_a_key_finds_its_row():
    memory = normal(B, N, W)
    row = jnp.array([4, 0, 5])
    found = address(
        make_address(1, W)._replace(
            key=3 * memory[jnp.arange(B), row][:, None],  # its length does not count
            strength=jnp.full((B, 1, 1), 20.0),
            gate=jnp.ones((B, 1, 1)),
            shift=shift_by(0)[:, :1],
            sharpness=jnp.full((B, 1, 1), 5.0),
        ),
        memory,
        make_weights(1),
    )
    np.testing.assert_array_equal(found[:, 0].argmax(-1), row)
    np.testing.assert_allclose(read(memory, found)[:, 0], memory[jnp.arange(B), row], atol=1e-3)


def test_what_is_written_to_one_row_is_there_and_nothing_else():
    memory, add, row = normal(B, N, W), normal(B, W, seed=1), 2
    weights = jax.nn.one_hot(jnp.full(B, row), N)
    after = write(memory, weights, jnp.ones((B, W)), add)
    np.testing.assert_array_equal(after, memory.at[:, row].set(add))


@pytest.mark.parametrize("sharpness", [1.0, 21.0])
def test_extreme_weights_have_finite_gradients(sharpness):
    """Of no weight at all on a row, an empty memory, and a key of zeros."""
    where = make_address(2, W)._replace(
        key=jnp.zeros((B, 2, W)),
        gate=jnp.zeros((B, 2, 1)),
        shift=shift_by(0),
        sharpness=jnp.full((B, 2, 1), sharpness),
    )
    for before in (jax.nn.one_hot(jnp.zeros((B, 2), int), N), jnp.full((B, 2, N), 1 / N)):
        for value in (0.0, FIRST_MEMORY):
            memory = jnp.full((B, N, W), value)
            found, vjp = jax.vjp(address, where, memory, before)
            assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(vjp(found)))
            np.testing.assert_allclose(found, before, atol=1e-6)


# ---- the start ----


def test_the_learned_start_is_put_in_once_for_sequences_that_have_not_begun():
    params = CELL.init(jax.random.key(0), D, H)
    fresh = CELL.initial_state(B, D, H)
    started = begin(params, fresh)
    np.testing.assert_allclose(started.memory, np.full((B, N, W), FIRST_MEMORY))
    np.testing.assert_allclose(started.weights.sum(-1), np.ones((B, 2 * R)), rtol=1e-6)
    np.testing.assert_array_equal(started.weights[0], jax.nn.softmax(params.first_weights))
    reads = np.tanh(params.first_reads).ravel()
    np.testing.assert_allclose(started.h, [[0] * (H - R * W) + [*reads]] * B, rtol=1e-5)
    assert not jnp.any(started.c)
    jax.tree.map(np.testing.assert_array_equal, begin(params, started), started)
    mixed = jax.tree.map(lambda a, b: jnp.stack([a[0], b[1], b[2]]), fresh, started)
    jax.tree.map(np.testing.assert_array_equal, begin(params, mixed), started)


def test_heads_start_at_one_row():
    """With equal weights, all rows of the memory would stay the same for ever."""
    params = CELL.init(jax.random.key(0), D, H)
    assert jnp.all(jnp.std(params.first_weights, axis=1) > 0.1)
    assert jnp.all(jax.nn.softmax(params.first_weights)[:, 0] > 0.7)
    _, state = CELL.unroll(params, CELL.initial_state(B, D, H), normal(T, B, D), T)
    assert jnp.all(jnp.std(state.memory, axis=1) > 0.01 * jnp.abs(state.memory).mean())


def test_everything_has_a_gradient_from_a_fresh_state():
    params = CELL.init(jax.random.key(0), D, H)
    state = CELL.initial_state(B, D, H)

    @jax.jit
    @jax.grad
    def grad(params):
        return jnp.sum(jnp.sin(CELL.unroll(params, state, normal(T, B, D), T)[0]))

    for path, leaf in jax.tree_util.tree_leaves_with_path(grad(params)):
        assert jnp.all(jnp.isfinite(leaf)) and jnp.all(leaf != 0), jax.tree_util.keystr(path)


def test_windows_from_a_fresh_state_equal_one_long_window():
    params, xs = CELL.init(jax.random.key(0), D, H), normal(T, B, D)
    run = jax.jit(CELL.unroll)
    whole, last = run(params, CELL.initial_state(B, D, H), xs, T)
    first, state = run(params, CELL.initial_state(B, D, H), xs[:2], 2)
    rest, state = run(params, state, xs[2:], T - 2)
    np.testing.assert_allclose(jnp.concatenate([first, rest]), whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state, last)


def test_memories_of_other_sequences_have_no_influence():
    params = CELL.init(jax.random.key(0), D, H)
    state = begin(params, CELL.initial_state(B, D, H))

    def outputs(memory):
        after = CELL.unroll(params, state._replace(memory=memory), normal(T, B, D), T)[0]
        return after.sum((0, 2))

    influence = jnp.abs(jax.jit(jax.jacrev(outputs))(normal(B, N, W))).max((2, 3))
    np.testing.assert_array_equal(influence > 0, np.eye(B, dtype=bool))


# ---- several heads, and its parameters ----


def test_write_heads_write_one_after_the_other_and_reads_are_of_the_old_memory():
    """And the outputs are the controller's, then what each head reads."""
    params = CELL.init(jax.random.key(0), D, H)
    state = begin(params, CELL.initial_state(B, D, H))._replace(memory=normal(B, N, W))
    hs, after = CELL.unroll(params, state, normal(1, B, D), 1)
    told = after.h[:, : H - R * W] @ params.w_heads + params.b_heads[None]
    _, erase_add = jnp.split(told, [2 * R * (W + 6)], axis=-1)
    memory = np.asarray(state.memory)
    for r, what in enumerate(np.asarray(erase_add).reshape(B, R, 2, W).swapaxes(0, 1)):
        w = np.asarray(after.weights)[:, R + r, :, None]
        memory = memory * (1 - w / (1 + np.exp(-what[:, None, 0]))) + w * np.tanh(what[:, None, 1])
    np.testing.assert_allclose(after.memory, memory, rtol=1e-4, atol=1e-6)
    reads = np.einsum("brn,bnw->brw", after.weights[:, :R], state.memory)
    np.testing.assert_allclose(hs[0, :, H - R * W :].reshape(B, R, W), reads, rtol=1e-4, atol=1e-6)


def test_the_controller_is_drawn_as_an_lstm_that_reads_what_the_heads_have_read():
    params = ntm("auto", N, W, 1, forget_gate_bias=5.0).init(jax.random.key(0), 30, 68)
    controller = params.controller
    assert [p.shape for p in controller] == [(30, 256), (68, 256), (256,), (256,)]
    for w in (controller.w_x, controller.w_h[:64], controller.w_h[64:], params.w_heads):
        assert 0.9 / 8 < jnp.max(jnp.abs(w)) <= 1 / 8
    assert jnp.all(controller.b_x[64:128] > 4.5)


@pytest.mark.parametrize("make", [CELL.init, lambda _, d, h: CELL.initial_state(B, d, h)])
def test_a_layer_without_features_for_the_controller_is_refused(make):
    with pytest.raises(ValueError, match="8 features: must be more than the 8"):
        make(jax.random.key(0), D, R * W)


def test_a_bfloat16_layer_keeps_its_memory_in_float32():
    params = CELL.init(jax.random.key(0), D, H)
    state = CELL.initial_state(B, D, H, jnp.bfloat16)
    hs, after = CELL.unroll(params, state, normal(T, B, D).astype(jnp.bfloat16), T)
    assert hs.dtype == after.h.dtype == jnp.bfloat16
    assert isinstance(after, NTMState)
    assert {leaf.dtype for leaf in after[1:]} == {jnp.dtype(jnp.float32)}
    assert jnp.all(jnp.isfinite(after.memory))
