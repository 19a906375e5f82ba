"""A stack over time: its masks, padded, in pieces; of unlike cells."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.core import losses, masks
from awd_jax.core.cells import gru, lstm, rnn
from awd_jax.core.unroll import unroll_stack

T, B, D, H = 7, 3, 5, 4
DIMS = ((D, H), (H, H), (H, D))
CELLS = (lstm(), gru(), lstm())


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def normal_like(seed, tree):
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([normal((seed, i), *leaf.shape) for i, leaf in enumerate(leaves)])


def make_stack(seed=0):
    """Parameters and states of every layer."""
    key = jax.random.key(0)
    layers = tuple(
        jax.eval_shape(lambda k, c=c, d=d, h=h: c.init(k, d, h), key)
        for c, (d, h) in zip(CELLS, DIMS, strict=True)
    )
    carry = tuple(c.initial_state(B, d, h) for c, (d, h) in zip(CELLS, DIMS, strict=True))
    return jax.tree.map(lambda p: p / 2, normal_like(seed, layers)), normal_like(seed + 1, carry)


@functools.partial(jax.jit, static_argnums=(4,))
def run_stack(layers, carry, xs, drawn, length=None):
    return unroll_stack(CELLS, layers, carry, xs, drawn, length)


@functools.partial(jax.jit, static_argnames=("rate", "num_steps"))
def make_masks(key, rate=0.5, num_steps=T):
    """The last layer's own dropout is elementwise."""
    keys = jax.random.split(key, 3)
    ids = jnp.arange(B)
    layers, _ = make_stack()

    def draw(key, cell, params, h):
        key_weights, key_state, key_after = jax.random.split(key, 3)
        return masks.LayerMasks(
            masks.sample_weight_drop(
                key_weights, params, cell.dropped, cell.dropped_inputs, rate, rate
            ),
            masks.sample_locked(key_state, ids, h, rate)[0],
            masks.sample_locked(key_after, ids, h, rate),
        )

    drawn = [
        draw(k, c, p, h)
        for k, c, p, (_, h) in zip(jax.random.split(keys[0], 3), CELLS, layers, DIMS, strict=True)
    ]
    drawn[-1] = drawn[-1]._replace(
        after=masks.sample_elementwise(keys[1], ids, T, D, rate)[:num_steps]
    )
    return jax.tree.map(
        lambda m: m.astype(jnp.result_type(float)),
        masks.Masks(None, masks.sample_locked(keys[2], ids, D, rate), tuple(drawn)),
    )


def assert_close(actual, desired, rtol=1e-9, atol=1e-12):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=rtol, atol=atol)


# ---- padding ----


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
def loss_of_a_window(layers, carry, xs, drawn, length, d_carry):
    """NLL, AR and TAR of the real steps, plus a loss on the carry."""
    features, after = unroll_stack(CELLS, layers, carry, xs, drawn, length)
    steps = jnp.arange(len(xs))[:, None].repeat(B, axis=1)
    weights = (steps < (len(xs) if length is None else length)).astype(xs.dtype)
    nll = losses.token_nll(features.dropped_hs, targets=steps % D)
    total = (
        losses.sum_over_real(nll, weights)
        + 2.0 * losses.activation_reg(features.dropped_hs, weights)
        + losses.temporal_activation_reg(features.raw_hs, weights)
        + optax.tree.vdot(after, d_carry)
    )
    return total, (features.raw_hs, after)


@pytest.mark.parametrize("length", [1, 2, 5, T])
def test_padded_equals_unpadded(x64, length):
    layers, carry = make_stack()
    _, d_carry = make_stack(seed=20)
    short, drawn = (make_masks(jax.random.key(0), num_steps=n) for n in (length, T))
    xs = normal(2, T, B, D)
    (value, (hs, after)), grads = loss_of_a_window(layers, carry, xs[:length], short, None, d_carry)
    for padding in (xs[length:], 1e3 * normal(5, T - length, B, D)):
        (padded_value, (padded_hs, padded_after)), padded_grads = loss_of_a_window(
            layers,
            carry,
            jnp.concatenate([xs[:length], padding]),
            drawn,
            jnp.asarray(length),
            d_carry,
        )
        assert_close(padded_value, value)
        assert_close(padded_after, after)
        assert_close(padded_hs[:length], hs)
        assert_close(padded_grads[:2], grads[:2])
        assert_close(padded_grads[2][:length], grads[2])
        assert not jnp.any(padded_grads[2][length:])


def test_each_sequence_may_have_its_own_length(x64):
    layers, carry = make_stack()
    drawn, xs = make_masks(jax.random.key(0)), normal(2, T, B, D)
    lengths = (3, 0, T)
    features, after = jax.jit(functools.partial(unroll_stack, CELLS))(
        layers, carry, xs, drawn, jnp.array(lengths)
    )
    for b, length in enumerate(lengths):
        alone, after_alone = run_stack(layers, carry, xs, drawn, length)
        assert_close(
            jax.tree.map(lambda s, b=b: s[b], after), jax.tree.map(lambda s, b=b: s[b], after_alone)
        )
        assert_close(features.raw_hs[:length, b], alone.raw_hs[:length, b])


# ---- time ----


def test_the_past_alone_decides_and_sequences_do_not_mix():
    layers, carry = make_stack()
    drawn = make_masks(jax.random.key(0), rate=0.2)

    def outputs(xs):
        return unroll_stack(CELLS, layers, carry, xs, drawn)[0].raw_hs

    influence = jnp.abs(jax.jit(jax.jacrev(outputs))(normal(2, T, B, D))).max(
        axis=(2, 5)
    )  # [T, B, T, B]
    t, b, s, a = jnp.indices(influence.shape, sparse=True)
    may = jnp.logical_and(*jnp.broadcast_arrays(s <= t, a == b))
    np.testing.assert_array_equal(influence > 0, may)


def test_windows_with_the_carry_equal_one_long_window(x64):
    layers, carry = make_stack()
    xs = normal(2, T, B, D)
    drawn = make_masks(jax.random.key(0))
    whole, last = run_stack(layers, carry, xs, drawn)
    pieces = []
    for at in (slice(3), slice(3, 4), slice(4, T)):
        final = drawn.layers[-1]
        drawn_here = drawn._replace(
            layers=(*drawn.layers[:-1], final._replace(after=final.after[at]))
        )
        features, carry = run_stack(layers, carry, xs[at], drawn_here)
        pieces.append(features.dropped_hs)
    assert_close(jnp.concatenate(pieces), whole.dropped_hs)
    assert_close(carry, last)


# ---- masks ----


def test_the_stack_masks_weights_states_inputs_between_and_after(x64):
    layers, carry = make_stack()
    xs = normal(2, T, B, D)
    drawn = make_masks(jax.random.key(0))
    features, after = run_stack(layers, carry, xs, drawn)
    dropped_hs = xs * drawn.input
    for cell, params, state, layer, new_state in zip(
        CELLS, layers, carry, drawn.layers, after, strict=True
    ):
        params = params._replace(
            w_x=params.w_x * layer.weights.w_x, w_h=params.w_h * layer.weights.w_h
        )
        raw_hs, last = cell.unroll(params, state, dropped_hs, T, layer.state)
        dropped_hs = raw_hs * layer.after
        assert_close(new_state, last)
    assert_close(features.raw_hs, raw_hs)
    assert_close(features.dropped_hs, dropped_hs)


def test_the_features_may_be_the_sum_of_all_outputs(x64):
    """Each as it is before dropout; the sum has the dropout of the last layer."""
    cells, none = (lstm(), gru()), masks.no_masks(2)
    key = jax.random.key(0)
    layers = tuple(cell.init(key, D, D) for cell in cells)
    carry = tuple(cell.initial_state(B, D, D) for cell in cells)
    between, after = (masks.sample_dropout(k, (1, B, D), 0.5) for k in jax.random.split(key))
    drawn = none._replace(layers=tuple(masks.LayerMasks(after=m) for m in (between, after)))
    xs = normal(2, T, B, D)
    first, _ = cells[0].unroll(layers[0], carry[0], xs, T)
    second, _ = cells[1].unroll(layers[1], carry[1], masks.apply(between, first), T)
    features, _ = unroll_stack(cells, layers, carry, xs, drawn, sum_outputs=True)
    assert_close(features.raw_hs, first + second)
    assert_close(features.dropped_hs, masks.apply(after, first + second))


def test_a_locked_mask_drops_the_same_features_at_every_step():
    layers, carry = make_stack()
    ids = jnp.arange(B)
    none = masks.no_masks(3)
    output = masks.sample_locked(jax.random.key(1), ids, D, 0.5)
    drawn = none._replace(
        input=masks.sample_locked(jax.random.key(0), ids, D, 0.5),
        layers=(*none.layers[:-1], masks.LayerMasks(after=output)),
    )

    def outputs(xs):
        return run_stack(layers, carry, xs, drawn)[0].dropped_hs

    xs = normal(2, T, B, D)
    dropped = outputs(xs) == 0
    np.testing.assert_array_equal(dropped, jnp.repeat(output == 0, T, axis=0))
    no_gradient = jax.grad(lambda xs: jnp.sum(outputs(xs) ** 2))(xs) == 0
    np.testing.assert_array_equal(no_gradient, jnp.repeat(drawn.input == 0, T, axis=0))


def test_weight_drop_is_the_same_for_every_sequence():
    cell = lstm()
    params = cell.init(jax.random.key(0), D, H)
    drawn = masks.sample_weight_drop(jax.random.key(1), params, ("w_h",), ("w_x",), 0.5)
    xs = jnp.repeat(normal(2, T, 1, D), B, axis=1)
    hs, _ = cell.unroll(masks.drop_weights(drawn, params), cell.initial_state(B, D, H), xs, T)
    # Columns of one product may differ by its rounding, equal as they are.
    np.testing.assert_allclose(hs, jnp.repeat(hs[:, :1], B, axis=1), rtol=1e-5, atol=1e-7)


def test_a_state_mask_hides_features_from_the_recurrence_only():
    """Of an RNN whose products see nothing of h, every step stands alone."""
    cell = rnn()
    params = cell.init(jax.random.key(0), D, H)
    state, xs = cell.initial_state(B, D, H), normal(2, T, B, D)
    hs, last = cell.unroll(params, state, xs, T, jnp.zeros((B, H)))
    alone = [cell.unroll(params, state, x[None], 1)[0][0] for x in xs]
    np.testing.assert_allclose(hs, jnp.stack(alone), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(last.h, hs[-1])
