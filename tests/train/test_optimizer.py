import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.core.ntasgd import averaged_params
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.run.replicas import Replicas
from awd_jax.train.learner import Learner
from awd_jax.train.optimizer import learning_rate, make_optimizer, rate_schedule
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


@pytest.mark.parametrize(("beta1", "expected"), [(0.0, 0.5), (0.9, 0.5 * 0.01 / 0.19)])
def test_the_step_of_adam_has_the_memory_that_the_config_says(beta1, expected):
    """After gradients of 1 and -1, whose squares have a mean of 1."""
    optimizer = make_optimizer(
        make_config(name="adam", adam_beta1=beta1, max_grad_norm=9.0, weight_decay=0.0)
    )
    params = {"w": jnp.zeros(1)}
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        for grad in (1.0, -1.0):
            grads = {"w": jnp.full(1, grad)}
            updates, state = optimizer.update(grads, state, params, learning_rate=0.5)
    np.testing.assert_allclose(updates["w"], [expected], rtol=1e-5)


def test_the_rate_is_proportional_to_the_batch_where_the_config_says_so():
    config = make_config(learning_rate=30.0, base_batch_size=20)
    assert learning_rate(config, epoch=1, batch_size=20, num_plateaus=0) == 30
    assert learning_rate(config, epoch=1, batch_size=80, num_plateaus=0) == 120


def test_the_rate_falls_to_a_tenth_after_each_decay_epoch():
    config = make_config(learning_rate=1.0, decay_epochs=(3, 5))
    rates = [learning_rate(config, epoch, 20, num_plateaus=0) for epoch in range(1, 8)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_rate_is_divided_by_four_for_each_plateau():
    config = make_config(learning_rate=20.0, plateau_factor=0.25)
    assert [learning_rate(config, 9, 20, num_plateaus=n) for n in range(3)] == [20, 5, 1.25]


@pytest.mark.parametrize(
    ("fields", "factors"),
    [
        ({}, {0: 1, 1000: 1}),
        ({"warmup_steps": 4}, {0: 0.25, 1: 0.5, 3: 1, 4: 1, 900: 1}),
        ({"schedule": "inverse_sqrt"}, {0: 1, 3: 0.5, 99: 0.1}),
        (
            {"schedule": "inverse_sqrt", "warmup_steps": 4},
            {0: 0.25, 3: 1, 15: 0.5, 399: 0.1},
        ),
        ({"schedule": "cosine", "schedule_steps": 8}, {0: 1, 4: 0.5, 8: 0, 9: 0}),
        (
            {"schedule": "halving", "schedule_steps": 20, "num_halvings": 2, "warmup_steps": 4},
            {0: 0.25, 4: 1, 14: 1, 15: 0.5, 19: 0.5, 20: 0.25},
        ),
        (
            {
                "schedule": "cosine",
                "warmup_steps": 2,
                "schedule_steps": 10,
                "final_rate_factor": 0.2,
            },
            {0: 0.5, 1: 1, 2: 1, 6: 0.6, 10: 0.2, 99: 0.2},
        ),
    ],
)
def test_a_schedule_gives_a_factor_for_each_update(fields, factors):
    schedule = rate_schedule(make_config(**fields))
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules need it
        got = [float(schedule(jnp.int32(count))) for count in factors]
    np.testing.assert_allclose(got, list(factors.values()), rtol=1e-5, atol=1e-7)


def test_every_update_moves_along_its_schedule_and_averages_what_it_reaches():
    fields = {"schedule": "inverse_sqrt", "warmup_steps": 2, "weight_decay": 0.0}
    optimizer = make_optimizer(make_config(**fields, max_grad_norm=9.0), average_from_start=True)
    params = {"w": jnp.zeros(1)}
    state, path = optimizer.init(params), []
    for _ in range(3):
        updates, state = optimizer.update({"w": -jnp.ones(1)}, state, params, learning_rate=2.0)
        params = optax.apply_updates(params, updates)
        path.append(float(params["w"][0]))
    np.testing.assert_allclose(np.diff([0, *path]), [1, 2, 2 * (2 / 3) ** 0.5], rtol=1e-5)
    average = averaged_params(state, params)
    np.testing.assert_allclose(average["w"], [np.mean(path)], rtol=1e-5)


def test_what_is_logged_is_the_rate_of_the_latest_update():
    config = default.get_config()
    config.optimizer.update({"learning_rate": 4.0, "warmup_steps": 4, "plateau_factor": 0.5})
    model = RecurrentLM(vocab_size=9, embed_dim=4, hidden_dim=4, num_layers=1)
    learner = Learner(config, model, Replicas(jax.devices()[:1]))
    rates = [learner.last_rate(step, 1, num_plateaus=0) for step in (1, 2, 4, 5)]
    assert rates == [1.0, 2.0, 4.0, 4.0]
    assert learner.last_rate(9, 3, num_plateaus=1) == 2.0


def test_the_embedding_may_have_a_rate_of_its_own():
    optimizer = make_optimizer(make_config(embed_rate_factor=2.0, weight_decay=0.0))
    params = {"embedding": {"rows": jnp.zeros(1)}, "softmax": jnp.zeros(1)}
    grads = jax.tree.map(lambda p: p + 0.1, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params, learning_rate=1.0)
    np.testing.assert_allclose(updates["embedding"]["rows"], 2 * updates["softmax"], rtol=1e-6)
