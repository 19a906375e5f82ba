"""A layer and a stack over time: against numpy, padded, in pieces, and under `vmap`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.core import losses, masks, unroll
from awd_jax.core.cells import LSTMParams, LSTMState, init_lstm, lstm_inputs, lstm_step
from awd_jax.core.fast import fast_lstm

T, B, D, H = 7, 3, 5, 4
DIMS = ((D, H), (H, H), (H, D))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def make_layer(seed=0, input_dim=D, hidden_dim=H):
    gates = 4 * hidden_dim
    shapes = LSTMParams((input_dim, gates), (hidden_dim, gates), (gates,), (gates,))
    return LSTMParams(*(0.5 * normal((seed, i), *s) for i, s in enumerate(shapes)))


def normal_state(seed, *shape):
    return LSTMState(normal((seed, 0), *shape), normal((seed, 1), *shape))


def make_state(seed=1, hidden_dim=H):
    return normal_state(seed, B, hidden_dim)


def make_stack(seed=0):
    layers = [make_layer(seed + i, d, h) for i, (d, h) in enumerate(DIMS)]
    return layers, tuple(make_state(seed + 10 + i, h) for i, (_, h) in enumerate(DIMS))


run_stack = jax.jit(unroll.unroll_stack)


@functools.partial(jax.jit, static_argnames="rate")
def make_masks(key, rate=0.5):
    key_in, key_hidden, key_out, key_weight = jax.random.split(key, 4)
    ids = jnp.arange(B)
    drawn = masks.Masks(
        embedding=None,
        input=masks.sample_locked(key_in, ids, D, rate),
        hidden=tuple(masks.sample_locked(k, ids, H, rate) for k in jax.random.split(key_hidden)),
        output=masks.sample_locked(key_out, ids, D, rate),
        weight=tuple(
            masks.sample_weight_drop(k, d, h, rate, rate)
            for k, (d, h) in zip(jax.random.split(key_weight, 3), DIMS, strict=True)
        ),
    )
    return jax.tree.map(lambda m: m.astype(jnp.result_type(float)), drawn)


def assert_close(actual, desired, rtol=1e-9, atol=1e-12):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=rtol, atol=atol)


# ---- the fast road and the slow ones ----


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(params, state, xs, d_hs, d_last):
    """Outputs, last state and all gradients of sum(hs * d_hs) + sum(last * d_last), by hand."""
    w_x, w_h, b_x, b_h = (np.asarray(p) for p in params)
    h, c = (np.asarray(s) for s in state)
    hs, tape = [], []
    for x in np.asarray(xs):
        i, f, g, o = np.split(x @ w_x + h @ w_h + b_x + b_h, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        tape.append((x, h, c, i, f, g, o))
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
    last = LSTMState(h, c)

    d_params = LSTMParams(*(np.zeros_like(p) for p in (w_x, w_h, b_x, b_h)))
    d_xs = np.zeros_like(xs)
    d_h, d_c = (np.asarray(d) for d in d_last)
    for t in reversed(range(len(hs))):
        x, h, c, i, f, g, o = tape[t]
        tanh_c = np.tanh(f * c + i * g)
        d_h = d_h + np.asarray(d_hs)[t]
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_gates = np.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * c * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ],
            axis=1,
        )
        for total, d in zip(
            d_params, (x.T @ d_gates, h.T @ d_gates, d_gates.sum(0), d_gates.sum(0)), strict=True
        ):
            total += d
        d_xs[t], d_h, d_c = d_gates @ w_x.T, d_gates @ w_h.T, d_c * f
    return (np.stack(hs), last), (d_params, LSTMState(d_h, d_c), d_xs)


def step_by_step(params, state, xs):
    hs = []
    for x in xs:
        state = lstm_step(params.w_h, state, lstm_inputs(params, x))
        hs.append(state.h)
    return jnp.stack(hs), state


by_scan = functools.partial(unroll.unroll_lstm, backend="scan")


@pytest.mark.parametrize("road", [unroll.unroll_lstm, by_scan, step_by_step])
def test_lstm_equals_numpy_in_values_and_every_gradient(x64, road):
    arguments = make_layer(), make_state(), normal(2, T, B, D)
    d_hs, d_last = normal(3, T, B, H), make_state(4)
    outputs, gradients = numpy_lstm(*arguments, d_hs, d_last)
    actual, vjp = jax.vjp(jax.jit(road), *arguments)
    assert_close(actual, outputs)
    assert_close(vjp((d_hs, d_last)), gradients)


@pytest.mark.parametrize(("length", "batch"), [(1, B), (T - 2, B), (T, B), (T - 1, 11)])
def test_the_fast_road_meets_the_scan_at_every_length_and_under_vmap(x64, length, batch):
    """Each of two runs has its own weights; what comes from padding is not asked for."""
    d, h, g = 2 * D, H, 4 * H
    params = LSTMParams(normal(0, 2, d, g), normal(1, 2, h, g), normal(2, 2, g), normal(3, 2, g))
    arguments = params, normal_state(4, 2, batch, H), normal(5, 2, T, batch, d)
    is_real = (jnp.arange(T) < length)[:, None, None]
    d_outputs = jnp.where(is_real, normal(6, 2, T, batch, H), 0), normal_state(7, 2, batch, H)

    def run(lstm):
        def mapped(params, state, xs):
            return jax.vmap(lambda *one: lstm(*one, jnp.asarray(length)))(params, state, xs)

        (hs, last), vjp = jax.vjp(mapped, *arguments)
        return jnp.where(is_real, hs, 0), last, vjp(d_outputs)

    assert_close(jax.jit(run, static_argnums=0)(fast_lstm), run(unroll.scan_lstm))


# ---- padding ----


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
def loss_of_a_window(layers, carry, xs, drawn, length, d_carry):
    """NLL, AR and TAR of the real steps, plus a loss on the carry."""
    output = unroll.unroll_stack(layers, carry, xs, drawn, length)
    steps = jnp.arange(len(xs))[:, None].repeat(B, axis=1)
    weights = (steps < (len(xs) if length is None else length)).astype(xs.dtype)
    nll = losses.token_nll(output.dropped_hs, targets=steps % D)
    total = (
        losses.mean_over_real(nll, weights)
        + 2.0 * losses.activation_reg(output.dropped_hs, weights)
        + losses.temporal_activation_reg(output.raw_hs, weights)
        + optax.tree.vdot(output.carry, d_carry)
    )
    return total, output


@pytest.mark.parametrize("length", [1, 2, 5, T])
def test_padded_equals_unpadded(x64, length):
    layers, carry = make_stack()
    _, d_carry = make_stack(seed=20)
    drawn = make_masks(jax.random.key(0))
    xs = normal(2, T, B, D)
    (value, output), grads = loss_of_a_window(layers, carry, xs[:length], drawn, None, d_carry)
    for padding in (xs[length:], 1e3 * normal(5, T - length, B, D)):
        (padded_value, padded), padded_grads = loss_of_a_window(
            layers, carry, jnp.concatenate([xs[:length], padding]), drawn, length, d_carry
        )
        assert_close(padded_value, value)
        assert_close(padded.carry, output.carry)
        assert_close(padded.raw_hs[:length], output.raw_hs)
        assert_close(padded_grads[:2], grads[:2])
        assert_close(padded_grads[2][:length], grads[2])
        assert not jnp.any(padded_grads[2][length:])


def test_one_program_serves_every_length():
    layers, carry = make_stack()
    xs, none = normal(2, T, B, D), masks.no_masks(3)
    run = jax.jit(lambda length: unroll.unroll_stack(layers, carry, xs, none, length).carry)
    run_whole = jax.jit(lambda: unroll.unroll_stack(layers, carry, xs, none).carry)
    carries = [run(jnp.asarray(length)) for length in (1, 4, T)]
    assert run._cache_size() == 1
    assert_close(carries[-1], run_whole(), rtol=1e-5, atol=1e-6)


# ---- time ----


def test_the_past_alone_decides_and_sequences_do_not_mix():
    layers, carry = make_stack()
    drawn = make_masks(jax.random.key(0), rate=0.2)

    def outputs(xs):
        return unroll.unroll_stack(layers, carry, xs, drawn).raw_hs

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
    whole = run_stack(layers, carry, xs, drawn)
    pieces = []
    for piece in (xs[:3], xs[3:4], xs[4:]):
        output = run_stack(layers, carry, piece, drawn)
        carry = output.carry
        pieces.append(output.dropped_hs)
    assert_close(jnp.concatenate(pieces), whole.dropped_hs)
    assert_close(carry, whole.carry)


# ---- masks ----


def test_the_stack_masks_weights_inputs_between_and_after(x64):
    layers, carry = make_stack()
    xs = normal(2, T, B, D)
    drawn = make_masks(jax.random.key(0))
    output = run_stack(layers, carry, xs, drawn)
    dropped_hs = xs * drawn.input
    for layer, state, weight, mask, new_state in zip(
        layers, carry, drawn.weight, (*drawn.hidden, drawn.output), output.carry, strict=True
    ):
        params = LSTMParams(layer.w_x * weight.w_x, layer.w_h * weight.w_h, layer.b_x, layer.b_h)
        raw_hs, last = step_by_step(params, state, dropped_hs)
        dropped_hs = raw_hs * mask
        assert_close(new_state, last)
    assert_close(output.raw_hs, raw_hs)
    assert_close(output.dropped_hs, dropped_hs)


def test_a_locked_mask_drops_the_same_features_at_every_step():
    layers, carry = make_stack()
    ids = jnp.arange(B)
    drawn = masks.no_masks(3)._replace(
        input=masks.sample_locked(jax.random.key(0), ids, D, 0.5),
        output=masks.sample_locked(jax.random.key(1), ids, D, 0.5),
    )

    def outputs(xs):
        return run_stack(layers, carry, xs, drawn).dropped_hs

    xs = normal(2, T, B, D)
    dropped = outputs(xs) == 0
    np.testing.assert_array_equal(dropped, jnp.repeat(drawn.output == 0, T, axis=0))
    no_gradient = jax.grad(lambda xs: jnp.sum(outputs(xs) ** 2))(xs) == 0
    np.testing.assert_array_equal(no_gradient, jnp.repeat(drawn.input == 0, T, axis=0))


def test_weight_drop_is_the_same_for_every_sequence():
    layer = init_lstm(jax.random.key(0), D, H)
    weight = masks.sample_weight_drop(jax.random.key(1), D, H, 0.5)
    layer = layer._replace(w_h=masks.apply(weight.w_h, layer.w_h))
    xs = jnp.repeat(normal(2, T, 1, D), B, axis=1)
    hs, _ = unroll.unroll_lstm(layer, LSTMState(jnp.zeros((B, H)), jnp.zeros((B, H))), xs)
    # Columns of one product may differ by its rounding, equal as they are.
    np.testing.assert_allclose(hs, jnp.repeat(hs[:, :1], B, axis=1), rtol=1e-5, atol=1e-7)


def test_a_weight_mask_for_each_sequence_by_vmap():
    layer, state, xs = make_layer(), make_state(), normal(2, T, B, D)

    def one(key, state, xs):
        """A sequence alone, with weight masks of its own."""
        weight = masks.sample_weight_drop(key, D, H, 0.5, 0.1)
        params = layer._replace(w_x=weight.w_x * layer.w_x, w_h=weight.w_h * layer.w_h)
        return unroll.unroll_lstm(params, state, xs)

    keys = jax.random.split(jax.random.key(0), B)
    batches_of_one = jax.tree.map(lambda s: s[:, None], state), xs.swapaxes(0, 1)[:, :, None]
    together = jax.jit(jax.vmap(one))(keys, *batches_of_one)
    loop = jax.jit(one)
    for b, key in enumerate(keys):
        alone = loop(key, *jax.tree.map(lambda s, b=b: s[b], batches_of_one))
        assert_close(jax.tree.map(lambda s, b=b: s[b], together), alone, rtol=1e-5, atol=1e-6)
