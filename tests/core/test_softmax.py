"""What every head of the table owes, and the tied softmax: loss by blocks against all logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import softmax
from awd_jax.core.softmax import HEADS, TiedParams, tied, tied_logits

T, B, E, V = 12, 3, 5, 11
REAL = 7  # steps; the rest is padding


class Row(NamedTuple):
    """A head, and how wide the features are that it reads."""

    head: softmax.Head
    feature_dim: int = E


ROWS = {"tied": Row(HEADS["tied"]())}
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def make(row, dtype=np.float32, t=T, b=B, v=V):
    """(own, table, hs), (targets, weights), masks."""
    random = np.random.default_rng(0)
    like = jax.eval_shape(lambda k: row.head.init(k, v, row.feature_dim, E), jax.random.key(0))

    def normal(leaf):
        return jnp.asarray(random.normal(size=leaf.shape), dtype)

    hs, table = np.empty((t, b, row.feature_dim)), np.empty((v, E))
    params = jax.tree.map(normal, like), normal(table), normal(hs)
    targets = jnp.asarray(random.integers(v, size=(t, b)), jnp.int32)
    weights = jnp.asarray(random.uniform(0.5, 1, size=(t, b)), dtype).at[REAL:].set(0)
    return params, (targets, weights), row.head.sample_masks(jax.random.key(1), jnp.arange(b), E)


def nll_of_all_logits(head, params, targets, weights):
    log_probs = head.log_probs(*params)
    nll = -jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * nll), nll


def test_every_head_has_a_row():
    assert ROWS.keys() == HEADS.keys()


@each_row
@pytest.mark.parametrize("shape", [(), (4,), (2, 4)])
def test_probabilities_sum_to_one(row, shape):
    (own, table, hs), *_ = make(row)
    hs = jnp.broadcast_to(hs[0, 0], (*shape, row.feature_dim))
    log_probs = row.head.log_probs(own, table, 3 * hs)
    assert log_probs.shape == (*shape, V)
    np.testing.assert_allclose(jnp.exp(log_probs).sum(-1), np.ones(shape), rtol=1e-5)


# All at once; in 2, 4, 12 blocks; a single step larger than a block.
@each_row
@pytest.mark.parametrize("steps_of_block", [20, 6, 4, 1, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_change_neither_the_nll_nor_its_gradients(monkeypatch, row, steps_of_block, dtype):
    """Where the head has no masks; with them, `log_probs` is another distribution."""
    monkeypatch.setattr(softmax, "BLOCK_LOGITS", int(steps_of_block * B * V))
    with jax.enable_x64(dtype == np.float64):
        params, window, _ = make(row, dtype)
        scale = jnp.asarray(0.3, dtype)  # what comes from above reaches every gradient

        def run(sum_nll):
            def loss(params):
                nll, tokens = sum_nll(params)
                return scale * nll, tokens

            return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

        expected = run(lambda p: nll_of_all_logits(row.head, p, *window))
        got = run(lambda p: row.head.sum_nll(*p, *window, None))
        rtol, atol = (1e-4, 1e-6) if dtype == np.float32 else (1e-12, 1e-13)
        jax.tree.map(lambda e, g: np.testing.assert_allclose(g, e, rtol, atol), expected, got)
        nll, tokens = row.head.sum_nll(*params, *window, None)  # the road without gradients
        np.testing.assert_allclose(nll, expected[0][0] / scale, rtol=1e-5)
        np.testing.assert_allclose(tokens, expected[0][1], rtol, atol)


@each_row
def test_the_nll_is_the_weighted_sum_of_that_of_tokens_with_masks_too(row):
    params, (targets, weights), drawn = make(row)
    nll, tokens = row.head.sum_nll(*params, targets, weights, drawn)
    np.testing.assert_allclose(nll, jnp.sum(weights * tokens), rtol=1e-5)


@each_row
def test_no_gradient_flows_through_the_nll_of_tokens(row):
    params, window, drawn = make(row)
    grads = jax.grad(lambda p: jnp.sum(row.head.sum_nll(*p, *window, drawn)[1]))(params)
    assert not any(jnp.any(g) for g in jax.tree.leaves(grads))


@each_row
def test_padding_adds_nothing_to_the_nll_or_to_a_gradient(row):
    (own, table, hs), window, drawn = make(row)
    d_hs = jax.grad(lambda hs: row.head.sum_nll(own, table, hs, *window, drawn)[0])(hs)
    assert jnp.all(d_hs[REAL:] == 0)
    assert jnp.all(jnp.any(d_hs[:REAL], axis=2))


@each_row
@pytest.mark.parametrize("with_gradient", [False, True])
def test_all_logits_are_never_in_memory(row, with_gradient):
    t, b, v = 64, 64, 10_000
    params, window, drawn = make(row, t=t, b=b, v=v)

    def loss(params):
        return row.head.sum_nll(*params, *window, drawn)[0]

    program = jax.jit(jax.grad(loss) if with_gradient else loss).lower(params).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * t * b * v


@each_row
def test_it_is_mapped_over_models(row):
    params, window, drawn = make(row)
    two = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    together = jax.vmap(lambda p: row.head.sum_nll(*p, *window, drawn))(two)
    for i, k in enumerate((1, 2)):
        alone = row.head.sum_nll(*jax.tree.map(lambda p, k=k: k * p, params), *window, drawn)
        np.testing.assert_allclose(together[0][i], alone[0], rtol=1e-5)
        np.testing.assert_allclose(together[1][i], alone[1], rtol=1e-5, atol=1e-6)


@each_row
def test_of_bfloat16_features_only_their_gradient_is_bfloat16(row):
    (own, table, hs), window, drawn = make(row)

    def loss(own, table, hs):
        return row.head.sum_nll(own, table, hs, *window, drawn)

    narrow = hs.astype(jnp.bfloat16)
    (nll, tokens), grads = jax.eval_shape(
        jax.value_and_grad(loss, (0, 1, 2), has_aux=True), own, table, narrow
    )
    assert nll.dtype == tokens.dtype == jnp.float32
    assert grads[2].dtype == jnp.bfloat16
    assert {g.dtype for g in jax.tree.leaves(grads[:2])} == {jnp.dtype(jnp.float32)}


@each_row
def test_masks_follow_the_sequence_and_not_its_place(row):
    key, ids = jax.random.key(0), jnp.arange(8)
    whole = row.head.sample_masks(key, ids, E)
    halves = [row.head.sample_masks(key, part, E) for part in jnp.split(ids, 2)]
    for leaf, *parts in zip(*map(jax.tree.leaves, (whole, *halves)), strict=True):
        axis = next(
            i for i, (a, b) in enumerate(zip(leaf.shape, parts[0].shape, strict=True)) if a != b
        )
        np.testing.assert_array_equal(jnp.concatenate(parts, axis), leaf)


# ---- the tied softmax ----


def test_a_word_scores_by_its_embedding_and_its_bias():
    (own, table, hs), *_ = make(ROWS["tied"])
    expected = np.einsum("tbd,vd->tbv", hs, table) + np.asarray(own.bias)
    np.testing.assert_allclose(tied_logits(own, table, hs), expected, rtol=1e-5, atol=1e-6)


def test_its_bias_starts_at_zero_and_features_must_be_as_wide_as_the_embedding():
    own = tied().init(jax.random.key(0), V, E, E)
    assert isinstance(own, TiedParams)
    np.testing.assert_array_equal(own.bias, np.zeros(V))
    with pytest.raises(ValueError, match=f"features of {E + 1}: .* needs those of {E}"):
        tied().init(jax.random.key(0), V, E + 1, E)
