"""A layer in both directions: two runs by hand, whatever the padding."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import masks
from awd_jax.core.bidirectional import bidirectional, reverse
from awd_jax.core.cells import CELLS

T, B, D, H = 6, 4, 3, 4
LENGTHS = (T, 1, 4, 0)
MADE = {
    "lstm": CELLS["lstm"]("auto"),
    "cho_gru": CELLS["cho_gru"]("auto"),
    "qrnn": CELLS["qrnn"]("auto", filter_width=2),
}
each_cell = pytest.mark.parametrize("name", MADE)


def normal_like(seed, tree):
    leaves, structure = jax.tree.flatten(tree)
    random = np.random.default_rng(seed)
    return structure.unflatten([jnp.asarray(random.normal(size=leaf.shape)) for leaf in leaves])


def make(name):
    cell = MADE[name]
    both = bidirectional(cell)
    params = normal_like(0, both.init(jax.random.key(0), D, H))
    state = normal_like(1, both.initial_state(B, D, H))
    return cell, both, (params, state, normal_like(2, jnp.zeros((T, B, D))))


def assert_close(actual, desired, rtol=1e-9, atol=1e-12):
    jax.tree.map(lambda a, d: np.testing.assert_allclose(a, d, rtol, atol), actual, desired)


def test_padding_stays_where_it_is_when_a_sequence_is_turned_around():
    xs = jnp.arange(T * B).reshape(T, B, 1).astype(jnp.float32)
    turned = reverse(xs, jnp.array(LENGTHS))
    for b, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(turned[:length, b], xs[:length, b][::-1])
        np.testing.assert_array_equal(turned[length:, b], xs[length:, b])
    np.testing.assert_array_equal(reverse(turned, jnp.array(LENGTHS)), xs)
    np.testing.assert_array_equal(reverse(xs, 4), reverse(xs, jnp.full(B, 4)))


@pytest.mark.parametrize(
    ("name", "is_masked"), [*itertools.product(["lstm", "cho_gru"], [False, True]), ("qrnn", False)]
)
def test_it_is_one_run_each_way_of_each_sequence_without_its_padding(x64, name, is_masked):
    cell, both, (params, state, xs) = make(name)
    state_mask = None
    if is_masked:
        state_mask = masks.sample_dropout(jax.random.key(3), (B, 2 * H), 0.5).astype(xs.dtype)
    hs, last = jax.jit(both.unroll)(params, state, xs, jnp.array(LENGTHS), state_mask)
    assert hs.shape[-1] == both.output_dim(H)
    for b, length in enumerate(LENGTHS):

        def alone(tree, b=b):
            return jax.tree.map(lambda a: a[b : b + 1], tree)

        ways = [None, None] if state_mask is None else jnp.split(alone(state_mask), 2, axis=-1)
        x = xs[:length, b, None]
        expected = alone(state)
        if length:
            there, forward = cell.unroll(params.forward, alone(state.forward), x, length, ways[0])
            back, backward = cell.unroll(
                params.backward, alone(state.backward), x[::-1], length, ways[1]
            )
            expected = expected._replace(forward=forward, backward=backward)
            assert_close(hs[:length, b, None], jnp.concatenate([there, back[::-1]], axis=-1))
        assert_close(alone(last), expected)


@each_cell
def test_padding_changes_nothing(x64, name):
    _, both, (params, state, xs) = make(name)
    is_real = (np.arange(T)[:, None] < np.array(LENGTHS))[..., None]
    d_hs = jnp.where(is_real, normal_like(4, jnp.zeros((T, B, 2 * H))), 0)
    d_last = normal_like(5, state)

    @jax.jit
    def value_and_grads(xs):
        unroll = functools.partial(both.unroll, length=jnp.array(LENGTHS))
        (hs, last), vjp = jax.vjp(unroll, params, state, xs)
        return (jnp.where(is_real, hs, 0), last), vjp((d_hs, d_last))

    outputs, grads = value_and_grads(xs)
    padded_outputs, padded_grads = value_and_grads(jnp.where(is_real, xs, 1e3 * normal_like(6, xs)))
    assert_close(padded_outputs, outputs)
    assert_close(padded_grads, grads)
    assert not np.any(np.where(is_real, 0, grads[2]))


@each_cell
def test_each_output_depends_on_its_whole_sequence_and_on_no_other(name):
    _, both, (params, state, xs) = make(name)
    assert not both.is_causal

    def outputs(xs):
        return both.unroll(params, state, xs, jnp.array(LENGTHS))[0]

    influence = jnp.abs(jax.jit(jax.jacrev(outputs))(xs)).max(axis=(2, 5))  # [T, B, T, B]
    t, b, s, a = np.indices(influence.shape)
    length = np.array(LENGTHS)[b]
    is_real = t < length
    np.testing.assert_array_equal((influence > 0)[is_real], ((a == b) & (s < length))[is_real])


def test_its_directions_have_weights_of_their_own_and_all_can_be_dropped():
    both = bidirectional(CELLS["gru"]("auto"))
    params = both.init(jax.random.key(0), H, H)
    assert not jnp.any(params.forward.w_h == params.backward.w_h)
    drawn = masks.sample_weight_drop(
        jax.random.key(1), params, both.dropped, both.dropped_inputs, 0.5
    )
    assert drawn.forward.w_x is None and drawn.forward.w_h.shape == params.forward.w_h.shape
    assert jnp.any(drawn.forward.w_h != drawn.backward.w_h)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_a_text_starts_from_zeros_of_each_sequence(dtype):
    state = bidirectional(CELLS["lstm"]("auto")).initial_state(B, D, H, dtype)
    assert state.h.shape == (B, 2 * H)
    for leaf in jax.tree.leaves(state):
        assert leaf.shape == (B, H)
        assert not jnp.any(leaf)


def test_the_first_state_may_be_donated():
    state = bidirectional(CELLS["lstm"]("auto")).initial_state(B, D, H)
    run = jax.jit(lambda state: jax.tree.map(lambda s: s + 1, state), donate_argnums=0)
    assert jax.tree.all(jax.tree.map(lambda s: bool((s == 1).all()), run(state)))
