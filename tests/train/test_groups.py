"""Groups of layers with rates of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.train.groups import group_of, group_rates
from awd_jax.train.optimizer import make_optimizer, rate_schedule
from configs import default

NUM_GROUPS = 4
PARAMS = {
    "encoder": {"embedding": jnp.ones(2), "lstm_0": {"w": jnp.ones(3)}, "lstm_1": jnp.ones(1)},
    "block_0": {"norm": {"mean": jnp.zeros(2), "scale": jnp.ones(2)}, "w": jnp.full(2, 0.5)},
}
GRADS = jax.tree.map(lambda p: 0.1 + p, PARAMS)


@pytest.fixture(autouse=True)
def as_optax_needs():
    with jax.numpy_dtype_promotion("standard"):
        yield


def make_config(**fields):
    config = default.get_config().optimizer
    config.update({"name": "adam", "learning_rate": 0.01, "averaging": False, **fields})
    return config


def run(optimizer, rates, params=PARAMS, state=None):
    state = optimizer.init(params) if state is None else state
    for rate in rates:
        updates, state = optimizer.update(GRADS, state, params, learning_rate=jnp.asarray(rate))
        params = optax.apply_updates(params, updates)
    return params, state


def test_the_embedding_then_the_layers_then_the_rest():
    assert group_of(PARAMS) == {
        "encoder": {"embedding": 0, "lstm_0": {"w": 1}, "lstm_1": 2},
        "block_0": {"norm": {"mean": 3, "scale": 3}, "w": 3},
    }
    one = jnp.ones(1)
    language_model = {"embedding": one, "mogrifier_0": one, "softmax": {"bias": one}}
    assert group_of(language_model) == {"embedding": 0, "mogrifier_0": 1, "softmax": {"bias": 2}}


def test_each_layer_has_a_part_of_the_rate_above_it_and_thaws_in_turn():
    config = make_config(layer_rate_factor=0.5, thaw_epochs=2)
    by_epoch = [group_rates(config, NUM_GROUPS, 0.8, epoch).tolist() for epoch in range(1, 9)]
    last = np.float32([0.1, 0.2, 0.4, 0.8])
    for epoch, rates in enumerate(by_epoch):
        num_trained = min(1 + epoch // 2, NUM_GROUPS)
        expected = np.where(np.arange(NUM_GROUPS) >= NUM_GROUPS - num_trained, last, 0)
        np.testing.assert_allclose(rates, expected, rtol=1e-6)
    config = make_config(layer_rate_factor=0.5)
    np.testing.assert_allclose(group_rates(config, NUM_GROUPS, 0.8, 1), last, rtol=1e-6)


def test_a_frozen_group_has_no_decay_and_no_part_of_the_norm_and_begins_afresh():
    config = make_config(weight_decay=0.3, max_grad_norm=0.2)
    optimizer = make_optimizer(config, num_groups=NUM_GROUPS)
    head_alone, all_trained = [0, 0, 0, 0.01], [0.01] * 4
    params, state = run(optimizer, [head_alone] * 3)
    for name in PARAMS["encoder"]:
        jax.tree.map(
            np.testing.assert_array_equal, params["encoder"][name], PARAMS["encoder"][name]
        )
    # The norm that the clip knew was the head's alone, without the running mean.
    head = jax.tree.map(lambda x: x, {"block_0": PARAMS["block_0"]})
    only_head = make_optimizer(config, num_groups=1)
    grads = {"block_0": GRADS["block_0"]}
    alone, head_state = head, only_head.init(head)
    for _ in range(3):
        updates, head_state = only_head.update(
            grads, head_state, alone, learning_rate=jnp.float32([0.01])
        )
        alone = optax.apply_updates(alone, updates)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        params["block_0"],
        alone["block_0"],
    )
    # Thawed, it takes the first step of Adam: the whole rate.
    thawed, _ = run(optimizer, [all_trained], params, state)
    moved = thawed["encoder"]["embedding"] - params["encoder"]["embedding"]
    np.testing.assert_allclose(moved, -0.01, rtol=1e-4)


def test_running_means_go_their_own_way():
    optimizer = make_optimizer(make_config(weight_decay=0.3, max_grad_norm=1e-3), num_groups=4)
    params, _ = run(optimizer, [[0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(params["block_0"]["norm"]["mean"], -0.1 * 0.1, rtol=1e-6)
    np.testing.assert_array_equal(params["block_0"]["norm"]["scale"], np.ones(2))


def test_the_average_of_a_frozen_group_is_what_it_is():
    config = make_config(averaging=True)
    optimizer = make_optimizer(config, average_from_start=True, num_groups=NUM_GROUPS)
    _, state = run(optimizer, [[0, 0, 0.01, 0.01]] * 5)
    average = state[-1].average
    np.testing.assert_array_equal(average["encoder"]["embedding"], np.ones(2))
    assert np.all(average["encoder"]["lstm_1"] != 1)


def test_the_slanted_triangle_is_the_papers():
    """Howard and Ruder 2018, equation 3, with its cut_frac of 0.1 and ratio of 32."""
    total = 50
    schedule = rate_schedule(make_config(schedule="slanted"), total)
    cut = 5
    for t in range(total + 1):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        np.testing.assert_allclose(schedule(t), (1 + p * (32 - 1)) / 32, rtol=1e-5)
