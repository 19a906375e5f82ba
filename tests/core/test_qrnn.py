"""What the contract of `Cell` does not ask of the QRNN: its gates, its filter, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.qrnn import QRNNParams, QRNNState, qrnn

T, B, D, H = 4, 2, 3, 3


def gates(open_gates):
    """A bias that opens these of f and o, and shuts the others."""
    shut = {gate: 1000.0 if gate in open_gates else -1000.0 for gate in "fo"}
    return jnp.repeat(jnp.array([0.0, shut["f"], shut["o"]]), H)


@pytest.mark.parametrize(
    ("open_gates", "c", "h"),
    [
        ("", 1.0, 0.0),  # writes a one over the memory, shows nothing
        ("o", 1.0, 1.0),
        ("f", 0.7, 0.0),  # keeps the memory
        ("fo", 0.7, 0.7),
    ],
)
def test_each_gate_does_its_work(open_gates, c, h):
    """The gates lie side by side in the order z, f, o."""
    w = jnp.zeros((D, 3 * H)).at[:, :H].set(1000.0)  # z is 1
    state = QRNNState(jnp.full((B, H), 0.7))
    xs = jnp.ones((T, B, D))
    hs, last = qrnn().unroll(QRNNParams(w, gates(open_gates)), state, xs, T)
    np.testing.assert_allclose(last.c, np.full((B, H), c), rtol=1e-6)
    np.testing.assert_allclose(hs[-1], np.full((B, H), h), rtol=1e-6)


def test_a_filter_of_two_reads_the_input_before_through_its_first_rows():
    """With f shut and o open, h is z."""
    before, now = jnp.eye(D), jnp.zeros((D, D))
    w = jnp.pad(jnp.concatenate([before, now]), ((0, 0), (0, 2 * H)))
    xs = jax.random.normal(jax.random.key(0), (T + 1, B, D))
    state = QRNNState(jnp.zeros((B, H)), xs[0])
    hs, last = qrnn(filter_width=2).unroll(QRNNParams(w, gates("o")), state, xs[1:], T)
    np.testing.assert_allclose(hs, jnp.tanh(xs[:-1]), rtol=1e-6)
    np.testing.assert_array_equal(last.x, xs[-1])


@pytest.mark.parametrize("filter_width", [1, 2])
def test_init_fills_the_range_that_torch_gives_a_linear_layer(filter_width):
    params = qrnn(filter_width=filter_width).init(jax.random.key(0), 64 // filter_width, 32)
    assert params.w.shape == (64, 96)
    for weights in params:
        assert 0.9 / 8 < jnp.max(jnp.abs(weights)) <= 1 / 8
        assert jnp.abs(jnp.mean(weights)) < 5 / 8 / np.sqrt(3 * weights.size)
    assert not jnp.any(params.w[0] == params.b)


@pytest.mark.parametrize(("platform", "is_tree"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_auto_goes_step_by_step_on_a_cpu_only(platform, is_tree):
    cell = qrnn("auto")
    params, state = cell.init(jax.random.key(0), D, H), cell.initial_state(B, D, H)
    traced = jax.jit(lambda xs: cell.unroll(params, state, xs, T)).trace(jnp.ones((T, B, D)))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.while" in program) != is_tree


@pytest.mark.parametrize("backend", ["fast", "cudnn"])
def test_other_backends_are_refused(backend):
    with pytest.raises(ValueError, match=f"backend {backend}: the QRNN has scan and associative"):
        qrnn(backend)


def test_a_state_mask_is_refused():
    cell = qrnn()
    params, state = cell.init(jax.random.key(0), D, H), cell.initial_state(B, D, H)
    with pytest.raises(ValueError, match="no recurrent product"):
        cell.unroll(params, state, jnp.ones((T, B, D)), T, jnp.ones((B, H)))
