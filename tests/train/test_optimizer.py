import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.train.optimizer import learning_rate, make_optimizer
from configs import default


def make_config(**fields):
    config = default.get_config().optimizer
    config.update(fields)
    return config


def one_step(config, grad, param, rate):
    optimizer = make_optimizer(config)
    params = {"w": jnp.asarray(param)}
    updates, _ = optimizer.update(
        {"w": jnp.asarray(grad)}, optimizer.init(params), params, learning_rate=rate
    )
    return np.asarray(updates["w"])


def test_the_gradient_is_clipped_and_the_weight_decay_is_not():
    config = make_config(max_grad_norm=1.0, weight_decay=10.0)
    update = one_step(config, grad=[30.0, 40.0], param=[1.0, 2.0], rate=0.5)
    np.testing.assert_allclose(update, [-0.5 * (0.6 + 10), -0.5 * (0.8 + 20)], rtol=1e-6)


def test_adam_takes_the_weight_decay_into_its_gradient():
    config = make_config(name="adam", max_grad_norm=100.0, weight_decay=10.0)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        update = one_step(config, grad=[-1.0], param=[1.0], rate=0.5)
    # The first step of Adam is -rate * sign(gradient + decay * parameter).
    np.testing.assert_allclose(update, [-0.5], rtol=1e-5)


def test_the_rate_of_a_window_is_proportional_to_its_length():
    config = make_config(learning_rate=30.0)
    assert learning_rate(config, epoch=1, length=70, bptt=70, batch_size=20) == 30
    assert learning_rate(config, epoch=500, length=35, bptt=70, batch_size=20) == 15


def test_the_rate_is_proportional_to_the_batch_where_the_config_says_so():
    config = make_config(learning_rate=30.0, base_batch_size=20)
    assert learning_rate(config, epoch=1, length=70, bptt=70, batch_size=20) == 30
    assert learning_rate(config, epoch=1, length=35, bptt=70, batch_size=80) == 60


def test_the_rate_falls_to_a_tenth_after_each_decay_epoch():
    config = make_config(learning_rate=1.0, decay_epochs=(3, 5))
    rates = [learning_rate(config, epoch, 70, 70, 20) for epoch in range(1, 8)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])
