"""The cache pointer against its definition, a loop over tokens in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.cache import CacheScore, CacheState, cache_step, init_cache, mix_cache

N, H, V, W = 41, 6, 5, 12  # tokens, features, vocabulary, cache window
THETA, LAMB = 0.7, 0.3

random = np.random.RandomState(0)
HS = random.normal(size=(N, H)).astype(np.float32)
TARGETS = random.randint(0, V, size=N).astype(np.int32)
LOG_P = np.log(random.dirichlet(np.ones(V), size=N)).astype(np.float32)  # [N, V]


def define(t, window, theta):
    """p_cache of every word at position t; None before there is a history."""
    positions = range(max(0, t - window), t)
    if not positions:
        return None
    h = np.float64(HS)
    attention = np.array([np.exp(theta * h[t] @ h[i]) for i in positions])
    p = np.zeros(V)
    for i, weight in zip(positions, attention / attention.sum(), strict=True):
        p[TARGETS[i]] += weight  # TARGETS[i] is x_{i+1}
    return p


def define_mixed(window=W, theta=THETA, lamb=LAMB):
    log_probs = []
    for t in range(N):
        p = np.exp(np.float64(LOG_P[t]))
        p_cache = define(t, window, theta)
        if p_cache is not None:
            p = lamb * p_cache + (1 - lamb) * p
        log_probs.append(np.log(p[TARGETS[t]]))
    return np.array(log_probs)


def run(chunk=N, theta=THETA, slots=W, window=None, targets=TARGETS):
    state, scores = init_cache(slots, H), []
    for start in range(0, N, chunk):
        at = slice(start, start + chunk)
        score, state = cache_step(
            state, jnp.asarray(HS[at]), jnp.asarray(targets[at]), theta, window
        )
        scores.append(score)
    return CacheScore(*map(jnp.concatenate, zip(*scores, strict=True))), state


def mixed(lamb=LAMB, **arguments):
    log_p = jnp.asarray(LOG_P[np.arange(N), TARGETS])
    return mix_cache(log_p, run(**arguments)[0], lamb)


@pytest.mark.parametrize("chunk", [1, 5, 13])
def test_it_is_the_definition_however_the_text_is_cut(chunk):
    np.testing.assert_allclose(mixed(chunk=chunk), define_mixed(), rtol=2e-5)


@pytest.mark.parametrize("slots", [1, N, 100])
def test_it_is_the_definition_for_any_window(slots):
    np.testing.assert_allclose(mixed(slots=slots, chunk=8), define_mixed(slots), rtol=2e-5)


def test_a_window_inside_the_cache_is_a_cache_of_that_window():
    np.testing.assert_allclose(mixed(slots=20, window=W, chunk=8), define_mixed(), rtol=2e-5)


@pytest.mark.parametrize("t", [1, 7, N - 1])
def test_it_is_a_distribution(t):
    p = []
    for word in range(V):
        targets = TARGETS.copy()
        targets[t] = word
        p.append(np.exp(run(targets=targets)[0].log_probs[t]))
    np.testing.assert_allclose(p, define(t, W, THETA), rtol=2e-5, atol=1e-7)
    assert sum(p) == pytest.approx(1, rel=1e-5)


def test_before_there_is_a_history_the_softmax_is_alone():
    score, _ = run()
    assert score.is_empty.tolist() == [True] + [False] * (N - 1)
    assert mixed()[0] == pytest.approx(LOG_P[0, TARGETS[0]], rel=1e-6)


def test_without_a_share_it_is_the_softmax():
    np.testing.assert_allclose(mixed(lamb=0.0), LOG_P[np.arange(N), TARGETS], rtol=1e-6)


def test_products_that_overflow_an_exponential_stay_finite():
    assert np.isfinite(mixed(theta=1e4)).all()


def test_it_jits_and_maps_over_settings():
    @jax.jit
    def grid(thetas, windows):
        def score(theta, window):
            return cache_step(
                init_cache(W, H), jnp.asarray(HS), jnp.asarray(TARGETS), theta, window
            )[0]

        return jax.vmap(score)(thetas, windows)

    settings = [(0.2, 3), (0.7, W), (2.0, 1)]
    scores = grid(*map(jnp.asarray, zip(*settings, strict=True)))
    for index, (theta, window) in enumerate(settings):
        expected = run(theta=theta, slots=window)[0].log_probs
        np.testing.assert_allclose(scores.log_probs[index], expected, rtol=2e-5)


def test_no_position_sees_the_token_that_it_is_asked_for():
    def log_prob(hs, t):
        return cache_step(init_cache(W, H), hs, jnp.asarray(TARGETS), THETA)[0].log_probs[t]

    gradient = jax.grad(log_prob)
    hit = [t for t in range(2, N) if define(t, W, THETA)[TARGETS[t]] > 0]
    for t in hit[:3]:
        moved = np.abs(gradient(jnp.asarray(HS), t)).sum(axis=1) > 0
        assert not moved[t + 1 :].any()
        assert moved[max(0, t - W) : t + 1].all() or len(set(TARGETS[max(0, t - W) : t])) == 1
        assert not moved[: max(0, t - W)].any()


def test_a_sequence_of_a_batch_is_mapped():
    step = jax.vmap(functools.partial(cache_step, theta=THETA), in_axes=(0, 1, 1))
    state = jax.tree.map(lambda a: jnp.stack([a, a]), init_cache(W, H))
    targets = jnp.stack([TARGETS, TARGETS[::-1]], axis=1)
    score, _ = step(state, jnp.stack([HS, HS], axis=1), targets)
    np.testing.assert_allclose(score.log_probs[0], run()[0].log_probs, rtol=2e-5)
    np.testing.assert_allclose(
        score.log_probs[1], run(targets=TARGETS[::-1])[0].log_probs, rtol=2e-5
    )


def test_the_largest_theta_points_at_the_nearest_features():
    """Its products would all be infinite, and their softmax NaN."""
    state = CacheState(jnp.array([[0.0, 3.0], [3.0, 0.0], [3.0, 1.0]]), jnp.array([1, 2, 1]))
    score, _ = cache_step(state, jnp.array([[3.0, 1.0]]), jnp.array([1]), 3e38)
    np.testing.assert_array_equal(score.log_probs, [0.0])
