"""The way to cuDNN and back, through the pure scan that jax has beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from awd_jax.core import cudnn
from awd_jax.core.lstm import LSTMState, lstm
from tests.products import as_on

T, B, D, H, LENGTH = 6, 3, 5, 4, 4


@pytest.fixture
def without_gpu(monkeypatch):
    def lstm(x, h, c, weights, lengths, *sizes, num_layers, dropout, bidirectional):
        arrays = rnn.unpack_lstm_weights(weights, *sizes, num_layers, bidirectional)
        return rnn.lstm_ref(x, h, c, *arrays, lengths, *sizes, num_layers, dropout, bidirectional)

    monkeypatch.setattr(rnn, "lstm", lstm)
    with jax.numpy_rank_promotion("allow"):  # in jax's own code
        yield


def make_layer():
    key_params, key_h, key_c, key_xs = jax.random.split(jax.random.key(0), 4)
    state = LSTMState(jax.random.normal(key_h, (B, H)), jax.random.normal(key_c, (B, H)))
    return lstm().init(key_params, D, H), state, jax.random.normal(key_xs, (T, B, D))


@pytest.mark.parametrize("length", [LENGTH, [LENGTH, 1, T]], ids=str)
def test_cudnn_gets_the_weights_and_the_length_where_it_wants_them(without_gpu, length):
    layer = make_layer()
    is_real = (jnp.arange(T)[:, None] < jnp.broadcast_to(jnp.asarray(length), B))[..., None]

    def run(backend):
        def loss(layer):
            hs, state = lstm(backend).unroll(*layer, jnp.asarray(length))
            weight = jnp.arange(T * B * H).reshape(T, B, H) / 10
            value = jnp.sum(jnp.where(is_real, hs, 0) * weight)
            return value + jnp.sum(state.h * jnp.sin(state.c)), state

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(layer)

    expected, got = run("scan"), run("cudnn")
    jax.tree.map(lambda e, g: np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5), expected, got)


def test_its_outputs_and_state_have_the_dtypes_of_the_fast_road(without_gpu):
    params, state, xs = make_layer()
    narrow = params, state._replace(h=state.h.astype(jnp.bfloat16)), xs.astype(jnp.bfloat16)
    expected, got = (
        jax.tree.map(lambda a: a.dtype, lstm(backend).unroll(*narrow, T))
        for backend in ("fast", "cudnn")
    )
    assert got == expected


def test_it_refuses_what_cudnn_cannot_do():
    with pytest.raises(ValueError, match="state_mask"):
        lstm("cudnn").unroll(*make_layer(), T, jnp.ones((B, H)))


@pytest.mark.parametrize(
    ("platform", "dtype", "state_mask", "options", "is_cudnn"),
    [
        ("gpu", "float32", None, {}, True),
        ("gpu", "float32", jnp.ones((B, H)), {}, False),
        ("gpu", "bfloat16", None, {}, False),
        ("cpu", "float32", None, {}, False),
        ("gpu", "float32", None, {"cap_input_gate": True}, False),
    ],
)
def test_it_is_chosen_on_a_gpu_with_float32_no_state_mask_and_no_cap(
    monkeypatch, platform, dtype, state_mask, options, is_cudnn
):
    params, state, xs = make_layer()
    called = []

    def cudnn_lstm(params, state, xs, length, state_mask=None):
        called.append(length)
        return xs, state

    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax.lax, "platform_dependent", as_on("cuda"))
    monkeypatch.setattr("awd_jax.core.lstm.cudnn_lstm", cudnn_lstm)
    state = state._replace(h=state.h.astype(dtype))
    lstm("auto", **options).unroll(params, state, xs.astype(dtype), T, state_mask)
    assert called == [T] * is_cudnn


def test_the_vector_of_weights_has_torchs_order():
    params, _, _ = make_layer()
    w_ih, w_hh, b_ih, b_hh = rnn.unpack_lstm_weights(cudnn.pack(params), D, H, 1, False)
    np.testing.assert_array_equal(w_ih[0], params.w_x.T)
    np.testing.assert_array_equal(w_hh[0], params.w_h.T)
    np.testing.assert_array_equal(b_ih[0], params.b_x)
    np.testing.assert_array_equal(b_hh[0], params.b_h)
