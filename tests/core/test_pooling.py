import jax
import jax.numpy as jnp
import numpy as np

from awd_jax.core.pooling import concat_pool, last_steps

HS = jax.random.normal(jax.random.key(0), (5, 3, 4)) - 3  # below what padding might add
WEIGHTS = jnp.float32([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]])  # 4, 2 and 0 real


def test_the_last_the_largest_and_the_mean_of_the_real_steps():
    pooled = concat_pool(HS, WEIGHTS)
    for column, length in ((0, 4), (1, 2)):
        real = np.asarray(HS[:length, column])
        expected = np.concatenate([real[-1], real.max(axis=0), real.mean(axis=0)])
        np.testing.assert_allclose(pooled[column], expected, rtol=1e-6)


def test_what_is_not_real_changes_nothing_and_has_no_gradient():
    def total(hs):
        return jnp.sum(jnp.square(concat_pool(hs, WEIGHTS)))

    other = jnp.where(WEIGHTS[..., None] > 0, HS, 100.0)
    np.testing.assert_array_equal(concat_pool(other, WEIGHTS), concat_pool(HS, WEIGHTS))
    assert not np.any(np.where(WEIGHTS[..., None] > 0, 0, jax.grad(total)(HS)))
    assert not np.any(concat_pool(HS, WEIGHTS)[2])


def test_the_last_steps_of_each_sequence():
    expected = [[0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(last_steps(WEIGHTS, 2), expected)
    np.testing.assert_array_equal(last_steps(WEIGHTS, 9), WEIGHTS)
