"""Token losses and the two activation regularisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import losses

T, B, V, H = 6, 3, 11, 4
ONES = jnp.ones((T, B))
REGULARISERS = [losses.activation_reg, losses.temporal_activation_reg]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def make_tokens():
    return jnp.asarray(np.random.default_rng(0).integers(V, size=(T, B)))


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_nll_is_numpys_log_softmax_at_the_target(offset):
    logits, targets = 3 * normal(1, T, B, V), make_tokens()
    wide = np.asarray(logits, np.float64)
    log_probs = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_probs, np.asarray(targets)[..., None], -1)[..., 0]
    ulp = np.spacing(np.float32(abs(offset)))
    nll = losses.token_nll(logits + offset, targets)
    np.testing.assert_allclose(nll, expected, rtol=1e-5, atol=2e-6 + 2 * ulp)


def test_gradient_of_the_nll_is_softmax_minus_onehot():
    logits, targets = 3 * normal(1, T, B, V), make_tokens()
    grads = jax.grad(lambda x: jnp.sum(losses.token_nll(x, targets)))(logits)
    expected = jax.nn.softmax(logits) - jax.nn.one_hot(targets, V)
    np.testing.assert_allclose(grads, expected, atol=1e-6)


def test_an_impossible_target_costs_a_finite_amount():
    logits = jnp.array([[[0.0, -1e30]]])
    value, grads = jax.value_and_grad(lambda x: losses.token_nll(x, jnp.array([[1]])).sum())(logits)
    assert value == pytest.approx(1e30, rel=1e-6)
    np.testing.assert_allclose(grads, [[[1.0, -1.0]]], rtol=1e-6)


def test_ar_is_the_sum_over_steps_of_the_mean_square():
    hs = jnp.array([[[1.0, 2.0]], [[3.0, 0.0]]])
    ar = losses.activation_reg(hs, jnp.ones((2, 1)))
    assert ar == pytest.approx((1 + 4) / 2 + (9 + 0) / 2, rel=1e-6)


def test_tar_is_the_sum_over_pairs_of_the_mean_square_of_differences_in_time():
    hs = jnp.array([[[1.0, 2.0]], [[3.0, 0.0]], [[3.0, 5.0]]])
    tar = losses.temporal_activation_reg(hs, jnp.ones((3, 1)))
    assert tar == pytest.approx((4 + 4) / 2 + (0 + 25) / 2, rel=1e-6)


def test_tar_of_a_constant_is_zero_but_not_of_a_difference_between_sequences():
    hs = jnp.repeat(normal(0, 1, B, H), T, axis=0)
    assert losses.temporal_activation_reg(hs, ONES) == 0
    assert losses.temporal_activation_reg(hs.swapaxes(0, 1), ONES.T) > 0


def test_tar_of_a_single_step_is_zero_and_so_is_its_gradient():
    value, grads = jax.value_and_grad(losses.temporal_activation_reg)(
        normal(0, 1, B, H), jnp.ones((1, B))
    )
    assert value == 0
    assert not jnp.any(grads)


@pytest.mark.parametrize("loss", REGULARISERS)
def test_regularisers_pull_on_every_real_position(loss):
    value, grads = jax.value_and_grad(loss)(normal(0, T, B, H), ONES)
    assert value > 0
    assert jnp.all(grads != 0)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("loss", [*REGULARISERS, losses.sum_over_real])
def test_padding_counts_for_nothing(loss, length):
    values = normal(0, T, B, H)
    weights = ONES.at[length:].set(0)
    padded, padded_grads = jax.value_and_grad(loss)(values.at[length:].set(1e3), weights)
    cut, grads = jax.value_and_grad(loss)(values[:length], ONES[:length])
    np.testing.assert_allclose(padded, cut, rtol=1e-5)
    np.testing.assert_allclose(padded_grads[:length], grads, rtol=1e-5)
    assert not jnp.any(padded_grads[length:])


@pytest.mark.parametrize("loss", [*REGULARISERS, losses.sum_over_real])
def test_nothing_but_padding_is_zero_and_not_nan(loss):
    value, grads = jax.value_and_grad(loss)(normal(0, T, B, H), 0 * ONES)
    assert value == 0
    assert not jnp.any(grads)


def test_the_sum_is_over_positions_and_the_mean_over_features():
    weights = ONES.at[4:, 1].set(0)
    real = np.asarray(weights, bool)
    for values in (normal(0, T, B), normal(0, T, B, H), normal(0, T, B, 2, H)):
        mean = np.asarray(values)[real].mean()
        np.testing.assert_allclose(
            losses.sum_over_real(values, weights), real.sum() * mean, rtol=1e-5
        )


@pytest.mark.parametrize("loss", [*REGULARISERS, losses.sum_over_real])
def test_parts_of_a_batch_add_up(loss):
    """Of unequal sizes, with unequal numbers of real positions."""
    values, weights = normal(0, T, B, H), ONES.at[4:, 1].set(0)
    parts = [loss(values[:, at], weights[:, at]) for at in (slice(0, 1), slice(1, B))]
    np.testing.assert_allclose(sum(parts), loss(values, weights), rtol=1e-5)


def test_a_uniform_guess_has_log_v_nats():
    nll = losses.token_nll(jnp.zeros((T, B, 16)), jnp.zeros((T, B), int))
    np.testing.assert_allclose(nll, np.full((T, B), np.log(16)), rtol=1e-6)


def test_losses_vmap():
    hs, tokens, logits = normal(0, 5, T, B, H), make_tokens(), normal(1, 5, T, B, V)
    for loss in REGULARISERS:
        each = [loss(h, ONES) for h in hs]
        np.testing.assert_allclose(jax.vmap(loss, (0, None))(hs, ONES), each, rtol=1e-5)
    each = [losses.token_nll(x, tokens) for x in logits]
    together = jax.vmap(losses.token_nll, (0, None))(logits, tokens)
    np.testing.assert_allclose(together, jnp.stack(each), rtol=1e-5, atol=1e-6)
