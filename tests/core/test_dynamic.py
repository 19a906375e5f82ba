"""Dynamic evaluation against its definition: a loop in float64 on a bigram softmax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.dynamic import (
    DynamicRates,
    DynamicState,
    SquaresState,
    dynamic_update,
    gradient_scale,
    score_dynamically,
    sum_squares,
)

V, S, T = 6, 7, 5  # vocabulary, segments, tokens of a segment
RATES = DynamicRates(learning_rate=0.03, lamb=0.4, eps=0.01)

random = np.random.RandomState(1)
PARAMS = {
    "table": random.normal(size=(V, V)).astype(np.float32),
    "bias": random.normal(size=V).astype(np.float32),
}
PARAMS = jax.tree.map(jnp.asarray, PARAMS)
TRAIN, TEXT = (jnp.asarray(random.randint(0, V, size=(S, T)), jnp.int32) for _ in range(2))


def loss_fn(params, last_token, tokens):
    """Each token from the one before; the carry is the last one."""
    inputs = jnp.concatenate([last_token[None], tokens[:-1]])
    logits = params["table"][inputs] + jnp.broadcast_to(params["bias"], (T, V))
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], axis=1)
    return nll.mean(), (tokens[-1], nll.sum())


FIRST = jnp.int32(0)


def loss_and_gradient(params, last_token, tokens):
    """The same in float64, with the gradient by hand."""
    grads = {name: np.zeros_like(p) for name, p in params.items()}
    nll = 0.0
    for before, token in zip([last_token, *tokens[:-1]], tokens, strict=True):
        logits = params["table"][before] + params["bias"]
        p = np.exp(logits - logits.max())
        p /= p.sum()
        nll -= np.log(p[token])
        delta = (p - np.eye(V)[token]) / T
        grads["table"][before] += delta
        grads["bias"] += delta
    return nll, grads


def in_float64():
    return {name: np.float64(p) for name, p in PARAMS.items()}


def define_ms():
    total, last = {name: np.zeros_like(p) for name, p in in_float64().items()}, 0
    for tokens in np.asarray(TRAIN):
        _, grads = loss_and_gradient(in_float64(), last, tokens)
        total = {name: total[name] + grads[name] ** 2 for name in total}
        last = tokens[-1]
    return {name: np.sqrt(t / S) for name, t in total.items()}


def define_scores(learning_rate, lamb, eps):
    ms, trained, params = define_ms(), in_float64(), in_float64()
    norm = np.mean([m.mean() for m in ms.values()])
    nlls, last = [], 0
    for tokens in np.asarray(TEXT):
        nll, grads = loss_and_gradient(params, last, tokens)
        nlls.append(nll)
        for name, p in params.items():
            r = np.minimum(ms[name] / norm, 1 / lamb)
            params[name] = (
                p + lamb * r * (trained[name] - p) - learning_rate * grads[name] / (ms[name] + eps)
            )
        last = tokens[-1]
    return np.array(nlls), params


def measure(windows=TRAIN):
    state = SquaresState(jax.tree.map(jnp.zeros_like, PARAMS), FIRST)
    state = sum_squares(loss_fn, PARAMS, state, windows)
    return gradient_scale(state.squares, S)


def score(rates=RATES, text=TEXT, state=None):
    state = DynamicState(PARAMS, FIRST) if state is None else state
    return score_dynamically(loss_fn, state, text, PARAMS, measure(), rates)


def test_the_scale_is_the_root_of_the_mean_square():
    scale = measure()
    expected = define_ms()
    for name, ms in expected.items():
        np.testing.assert_allclose(scale.ms[name], ms, rtol=1e-5)
    # A mean over tensors, not over their elements.
    assert scale.mean == pytest.approx(np.mean([m.mean() for m in expected.values()]), rel=1e-5)


@pytest.mark.parametrize("rates", [RATES, RATES._replace(lamb=0.02), RATES._replace(lamb=5.0)])
def test_scores_and_parameters_are_those_of_the_definition(rates):
    state, nlls = score(rates)
    expected, params = define_scores(*rates)
    np.testing.assert_allclose(nlls, expected, rtol=1e-5)
    for name, p in params.items():
        np.testing.assert_allclose(state.params[name], p, rtol=1e-4, atol=1e-6)


def test_the_text_may_be_cut_into_calls():
    state, first = score(text=TEXT[:3])
    state, second = score(text=TEXT[3:], state=state)
    whole, nlls = score()
    np.testing.assert_allclose(np.concatenate([first, second]), nlls, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), state, whole)


def test_without_a_rate_the_parameters_stay_and_the_scores_are_static():
    state, nlls = score(RATES._replace(learning_rate=0.0))
    jax.tree.map(np.testing.assert_array_equal, state.params, PARAMS)
    last, static = FIRST, []
    for tokens in TEXT:
        _, (last, nll) = loss_fn(PARAMS, last, tokens)
        static.append(nll)
    np.testing.assert_allclose(nlls, static, rtol=1e-5)


def test_a_segment_is_scored_before_it_is_learnt_from():
    high = RATES._replace(learning_rate=5.0)
    first, second, *_ = score()[1].tolist()
    first_high, second_high, *_ = score(high)[1].tolist()
    assert first_high == pytest.approx(first, rel=1e-5)
    assert second_high != pytest.approx(second, rel=1e-3)


def test_the_decay_never_overshoots_the_trained_parameters():
    trained = jax.tree.map(jnp.zeros_like, PARAMS)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    moved = dynamic_update(PARAMS, zeros, trained, measure(), RATES._replace(lamb=1e6))
    for p in jax.tree.leaves(moved):
        assert np.abs(p).max() < 1e-6  # all the way, no further
    still = dynamic_update(PARAMS, zeros, trained, measure(), RATES._replace(lamb=0.0))
    jax.tree.map(np.testing.assert_array_equal, still, PARAMS)
