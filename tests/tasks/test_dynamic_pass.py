"""The dynamic pass over a text, against a loop over its segments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from awd_jax.core.dynamic import DynamicRates
from awd_jax.tasks.cache import make_mix, make_static_pass
from awd_jax.tasks.dynamic import make_dynamic_pass, measure_gradients
from awd_jax.tasks.passes import segments as segment_plan
from tests.tasks.small import MODEL, PARAMS, STREAM, TRAIN

SEGMENT, WINDOW = 5, 10
MIX = make_mix(ConfigDict({"theta": 1.0, "lamb": 0.2}))
RATES = DynamicRates(learning_rate=0.02, lamb=0.3, eps=1e-3)


def loss_fn(params, carry, inputs, targets):
    log_probs, carry = MODEL.log_probs(params, inputs, carry)
    return -jnp.take_along_axis(log_probs, targets[..., None], axis=-1).mean(), carry


grad_fn = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))


def segments(stream):
    for start in range(0, len(stream) - 1, SEGMENT):
        rows = stream[start : start + SEGMENT + 1]
        yield jnp.asarray(rows[:-1]), jnp.asarray(rows[1:])


@functools.cache
def define_ms():
    carry, squares = MODEL.initial_carry(4), []
    for inputs, targets in segments(TRAIN):
        (_, carry), grads = grad_fn(PARAMS, carry, inputs, targets)
        squares.append(jax.tree.map(lambda g: np.float64(g) ** 2, grads))
    return jax.tree.map(lambda *s: np.sqrt(np.mean(s, axis=0)), *squares)


def define_nll():
    """Mean NLL of the softmax, as the paper has it."""
    ms = define_ms()
    norm = np.mean([m.mean() for m in jax.tree.leaves(ms)])
    params, carry, total = PARAMS, MODEL.initial_carry(1), 0.0
    for inputs, targets in segments(STREAM):
        (nll, carry), grads = grad_fn(params, carry, inputs, targets)
        total += float(nll) * len(inputs)

        def move(p, g, p0, m):
            r = np.minimum(m / norm, 1 / RATES.lamb)
            p, g, p0 = np.float64(p), np.float64(g), np.float64(p0)
            p = p + RATES.lamb * r * (p0 - p) - RATES.learning_rate * g / (m + RATES.eps)
            return jnp.asarray(p, jnp.float32)

        params = jax.tree.map(move, params, grads, PARAMS, ms)
    return total / (len(STREAM) - 1)


@functools.cache
def measure():
    return measure_gradients(MODEL, PARAMS, segment_plan(TRAIN, SEGMENT))


def dynamic_nlls(rates=RATES, num_segments=3):
    dynamic_pass = make_dynamic_pass(MODEL, MIX, WINDOW, SEGMENT, num_segments)
    return dynamic_pass(PARAMS, measure(), rates, STREAM, "test").nlls


def test_the_usual_gradient_is_the_root_of_the_mean_square_over_windows():
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7),
        measure().ms,
        define_ms(),
    )


@pytest.mark.parametrize("num_segments", [1, 20])
def test_it_is_the_definition_however_segments_are_put_into_calls(num_segments):
    assert dynamic_nlls(num_segments=num_segments)[0] == pytest.approx(define_nll(), rel=1e-5)


def test_it_learns_on_the_way():
    assert dynamic_nlls()[0] != pytest.approx(
        dynamic_nlls(RATES._replace(learning_rate=0.0))[0], rel=1e-3
    )


def test_without_a_rate_it_is_static_without_and_with_the_cache():
    static = make_static_pass(MODEL, MIX, WINDOW, steps=16)(PARAMS, STREAM, "test").nlls
    np.testing.assert_allclose(dynamic_nlls(RATES._replace(learning_rate=0.0)), static, rtol=1e-5)


def test_other_rates_are_the_same_program_and_the_trained_parameters_stay(caplog):
    before = jax.device_get(PARAMS)
    dynamic_pass = make_dynamic_pass(MODEL, MIX, WINDOW, SEGMENT, 3)

    def num_compiled(lamb):
        caplog.clear()
        with jax.log_compiles():
            dynamic_pass(PARAMS, measure(), RATES._replace(lamb=lamb), STREAM, "test")
        return sum("Compiling jit(step)" in record.getMessage() for record in caplog.records)

    assert [num_compiled(0.1), num_compiled(0.2)] == [1, 0]
    jax.tree.map(np.testing.assert_array_equal, PARAMS, before)
