"""One layer's parameters and one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.cells import (
    LSTMParams,
    LSTMState,
    init_lstm,
    init_lstm_state,
    lstm_inputs,
    lstm_step,
)

D, H, B = 6, 16, 5


def test_init_fills_the_uniform_range_of_torch():
    params = init_lstm(jax.random.key(0), 40, 64)
    assert jax.tree.map(jnp.shape, params) == LSTMParams((40, 256), (64, 256), (256,), (256,))
    for weights in params:
        assert 0.9 / 8 < jnp.max(jnp.abs(weights)) <= 1 / 8
        assert jnp.abs(jnp.mean(weights)) < 5 / 8 / np.sqrt(3 * weights.size)


def test_init_draws_each_array_from_its_own_key():
    params = init_lstm(jax.random.key(0), H, H)
    assert not jnp.any(params.w_x == params.w_h)
    assert not jnp.any(params.b_x == params.b_h)


def test_the_first_state_is_zero():
    state = init_lstm_state(B, H)
    assert state.h.shape == state.c.shape == (B, H)
    assert not jnp.any(state.h) and not jnp.any(state.c)


@pytest.mark.parametrize(
    ("open_gates", "c", "h"),
    [
        ("", 0.0, 0.0),
        ("f", 0.7, 0.0),  # keeps the memory, shows nothing
        ("fo", 0.7, np.tanh(0.7)),
        ("ig", 1.0, 0.0),  # writes a one over the old memory
        ("ifgo", 1.7, np.tanh(1.7)),
    ],
)
def test_each_gate_does_its_work(open_gates, c, h):
    """The gates lie side by side in the order i, f, g, o."""
    shut = {"i": -1000.0, "f": -1000.0, "g": 0.0, "o": -1000.0}
    gates = [1000.0 if gate in open_gates else shut[gate] for gate in "ifgo"]
    from_input = jnp.repeat(jnp.array([gates]), H, axis=1)
    state = LSTMState(h=jnp.ones((1, H)), c=jnp.full((1, H), 0.7))
    state = lstm_step(jnp.zeros((H, 4 * H)), state, from_input)
    np.testing.assert_allclose(state.c, np.full((1, H), c), rtol=1e-6)
    np.testing.assert_allclose(state.h, np.full((1, H), h), rtol=1e-6)


def test_both_biases_get_the_same_gradient():
    params = init_lstm(jax.random.key(0), D, H)
    x = jax.random.normal(jax.random.key(1), (B, D))
    grads = jax.grad(lambda p: jnp.sum(jnp.sin(lstm_inputs(p, x))))(params)
    assert jnp.any(grads.b_x)
    np.testing.assert_allclose(grads.b_x, grads.b_h, rtol=1e-5)
