import jax
import jax.numpy as jnp
import numpy as np

from awd_jax.core.batch_norm import MOMENTUM, batch_norm, init_batch_norm, normalise

XS = 3 + 2 * jax.random.normal(jax.random.key(0), (6, 4))
IS_REAL = jnp.float32([1, 1, 0, 1, 1, 0])
REAL = np.asarray(XS)[IS_REAL > 0]
PARAMS = init_batch_norm(4)._replace(
    scale=jnp.arange(1.0, 5.0), shift=jnp.full(4, 0.5), mean=jnp.ones(4), variance=jnp.full(4, 2.0)
)


def test_a_batch_is_normalised_by_its_own_real_ones():
    ys, _ = batch_norm(PARAMS, XS, IS_REAL)
    expected = (REAL - REAL.mean(axis=0)) / np.sqrt(REAL.var(axis=0) + 1e-5)
    expected = expected * np.asarray(PARAMS.scale) + 0.5
    np.testing.assert_allclose(ys[IS_REAL > 0], expected, rtol=1e-5, atol=1e-5)


def test_evaluation_is_by_the_running_ones():
    expected = (np.asarray(XS) - 1) / np.sqrt(2 + 1e-5) * np.asarray(PARAMS.scale) + 0.5
    np.testing.assert_allclose(normalise(PARAMS, XS), expected, rtol=1e-5)


def test_the_gradient_of_the_drift_moves_the_running_ones_as_torch_does():
    grads = jax.grad(lambda params: batch_norm(params, XS, IS_REAL)[1])(PARAMS)
    mean, variance = REAL.mean(axis=0), REAL.var(axis=0, ddof=1)
    for ours, grad, seen in ((1.0, grads.mean, mean), (2.0, grads.variance, variance)):
        moved = ours - MOMENTUM * np.asarray(grad)
        np.testing.assert_allclose(moved, (1 - MOMENTUM) * ours + MOMENTUM * seen, rtol=1e-5)
    assert not np.any(grads.scale) and not np.any(grads.shift)


def test_the_drift_pulls_nothing_else():
    grads = jax.grad(lambda xs: batch_norm(PARAMS, xs, IS_REAL)[1])(XS)
    assert not np.any(grads)


def test_parts_of_a_batch_on_several_devices_are_one_batch():
    def loss(params, xs, is_real, axis_name=None):
        ys, drift = batch_norm(params, xs, is_real, axis_name)
        return jnp.sum(is_real[:, None] * jnp.sin(ys)) + is_real.sum() * drift

    whole = jax.grad(loss, argnums=(0, 1))(PARAMS, XS, IS_REAL)
    parts = jax.vmap(
        lambda xs, is_real: jax.grad(loss, argnums=(0, 1))(PARAMS, xs, is_real, "devices"),
        axis_name="devices",
    )(XS.reshape(2, 3, 4), IS_REAL.reshape(2, 3))
    summed = jax.tree.map(lambda grad: grad.sum(axis=0), parts[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), summed, whole[0])
    np.testing.assert_allclose(parts[1].reshape(6, 4), whole[1], rtol=1e-4, atol=1e-5)


def test_a_lone_one_is_normalised_as_in_evaluation_and_moves_nothing():
    is_real = jnp.float32([0, 1, 0, 0, 0, 0])
    (ys, drift), pull = jax.vjp(lambda params: batch_norm(params, XS, is_real), PARAMS)
    np.testing.assert_allclose(ys, normalise(PARAMS, XS), rtol=1e-6)
    [grads] = pull((jnp.ones_like(ys), jnp.float32(1)))
    assert drift == 0 and not np.any(grads.mean) and not np.any(grads.variance)
    assert np.all(grads.shift == len(XS))
