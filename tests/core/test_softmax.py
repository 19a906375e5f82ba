"""The tied softmax: its logits, and its loss by blocks against that of all logits at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import softmax
from awd_jax.core.losses import token_nll
from awd_jax.core.softmax import tied_logits, tied_nll

T, B, D, V = 12, 3, 5, 11
REAL = 7  # steps; the rest is padding


def make_softmax(dtype=np.float32, t=T, b=B, v=V):
    random = np.random.default_rng(0)
    params = tuple(jnp.asarray(random.normal(size=s), dtype) for s in ((t, b, D), (v, D), (v,)))
    targets = jnp.asarray(random.integers(v, size=(t, b)), jnp.int32)
    weights = jnp.zeros((t, b), dtype).at[:REAL].set(1)
    return params, (targets, weights)


def nll_of_all_logits(params, targets, weights):
    return jnp.sum(weights * token_nll(tied_logits(*params), targets))


def test_a_word_scores_by_its_embedding_and_its_bias():
    (features, embedding, bias), _ = make_softmax()
    expected = np.einsum("tbd,vd->tbv", features, embedding) + np.asarray(bias)
    logits = tied_logits(features, embedding, bias)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


# All at once; in 2, 4, 12 blocks; a single step larger than a block.
@pytest.mark.parametrize("steps_of_block", [20, 6, 4, 1, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_change_neither_the_nll_nor_its_gradients(monkeypatch, steps_of_block, dtype):
    monkeypatch.setattr(softmax, "BLOCK_LOGITS", int(steps_of_block * B * V))
    with jax.enable_x64(dtype == np.float64):
        params, window = make_softmax(dtype)
        scale = jnp.asarray(0.3, dtype)  # what comes from above reaches every gradient
        expected = jax.value_and_grad(lambda p: scale * nll_of_all_logits(p, *window))(params)
        got = jax.jit(jax.value_and_grad(lambda p: scale * tied_nll(*p, *window)))(params)
        rtol, atol = (1e-4, 1e-6) if dtype == np.float32 else (1e-12, 1e-13)
        jax.tree.map(lambda e, g: np.testing.assert_allclose(g, e, rtol, atol), expected, got)
        np.testing.assert_allclose(tied_nll(*params, *window), expected[0] / scale, rtol=1e-5)


def test_padding_adds_nothing_to_the_nll_or_to_a_gradient():
    params, window = make_softmax()
    d_features = jax.grad(lambda f: tied_nll(f, *params[1:], *window))(params[0])
    assert jnp.all(d_features[REAL:] == 0)
    assert jnp.all(jnp.any(d_features[:REAL], axis=2))


def test_all_logits_are_never_in_memory():
    t, b, v = 64, 64, 10_000
    params, window = make_softmax(t=t, b=b, v=v)
    program = jax.jit(jax.grad(lambda p: tied_nll(*p, *window))).lower(params).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * t * b * v


def test_it_is_mapped_over_models():
    params, window = make_softmax()
    two = tuple(jnp.stack([p, 2 * p]) for p in params)
    together = jax.vmap(lambda p: tied_nll(*p, *window))(two)
    alone = [tied_nll(*(k * p for p in params), *window) for k in (1, 2)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-5)
