"""What every head of the table owes, and the tied softmax: loss by blocks against all logits."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import blocks, softmax
from awd_jax.core.adaptive import AdaptiveParams, AdaptiveTable, adaptive
from awd_jax.core.heads import HEADS
from awd_jax.core.mixture import log_mixture, mixture
from awd_jax.core.softmax import TiedParams, separate, tied, tied_logits

T, B, E, V = 12, 3, 5, 11
REAL = 7  # steps; the rest is padding


class Row(NamedTuple):
    """A head, and how wide the features are that it reads."""

    head: softmax.Head
    feature_dim: int = E
    embed_dim: int = E


ROWS = {
    "tied": Row(tied()),
    "separate": Row(separate(), feature_dim=7),
    "mixture": Row(mixture(3, latent_dropout_rate=0.4), feature_dim=7),
    "adaptive": Row(adaptive((4, 7))),
    "adaptive-div_val": Row(adaptive((2, 5, 8), 2, untie_first_projection=True), 8, 8),
}


each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def make(row, dtype=np.float32, t=T, b=B, v=V):
    """(own, table, hs), (targets, weights), masks."""
    random = np.random.default_rng(0)
    e, key = row.embed_dim, jax.random.key(0)
    like = jax.eval_shape(lambda k: row.head.init(k, v, row.feature_dim, e), key)
    table_like = jax.eval_shape(lambda k: row.head.init_table(k, v, e), key)

    def normal(leaf):
        return jnp.asarray(random.normal(size=leaf.shape), dtype)

    hs = np.empty((t, b, row.feature_dim))
    params = jax.tree.map(normal, like), jax.tree.map(normal, table_like), normal(hs)
    targets = jnp.asarray(random.integers(v, size=(t, b)), jnp.int32)
    weights = jnp.asarray(random.uniform(0.5, 1, size=(t, b)), dtype).at[REAL:].set(0)
    return params, (targets, weights), row.head.sample_masks(jax.random.key(1), jnp.arange(b), e)


def nll_of_all_logits(head, params, targets, weights):
    log_probs = head.log_probs(*params)
    nll = -jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * nll), nll


def test_every_head_has_a_row():
    assert {name.split("-")[0] for name in ROWS} == HEADS.keys()


@each_row
@pytest.mark.parametrize("shape", [(), (4,), (2, 4)])
def test_probabilities_sum_to_one(row, shape):
    (own, table, hs), *_ = make(row)
    hs = jnp.broadcast_to(hs[0, 0], (*shape, row.feature_dim))
    log_probs = jax.jit(row.head.log_probs)(own, table, 3 * hs)
    assert log_probs.shape == (*shape, V)
    np.testing.assert_allclose(jnp.exp(log_probs).sum(-1), np.ones(shape), rtol=1e-5)


# All at once; in 3 blocks; a single step larger than a block.
@each_row
@pytest.mark.parametrize("steps_of_block", [20, 4, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_change_neither_the_nll_nor_its_gradients(monkeypatch, row, steps_of_block, dtype):
    """Where the head has no masks; with them, `log_probs` is another distribution."""
    monkeypatch.setattr(blocks, "BLOCK_LOGITS", int(steps_of_block * B * V))
    monkeypatch.setattr(blocks, "BLOCK_TOKENS", int(steps_of_block * B))
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
        nll, tokens = jax.jit(row.head.sum_nll)(
            *params, *window, None
        )  # the road without gradients
        np.testing.assert_allclose(nll, expected[0][0] / scale, rtol=1e-5)
        np.testing.assert_allclose(tokens, expected[0][1], rtol, atol)


@each_row
def test_the_nll_is_the_weighted_sum_of_that_of_tokens_with_masks_too(row):
    params, (targets, weights), drawn = make(row)
    nll, tokens = jax.jit(row.head.sum_nll)(*params, targets, weights, drawn)
    np.testing.assert_allclose(nll, jnp.sum(weights * tokens), rtol=1e-5)


@each_row
def test_no_gradient_flows_through_the_nll_of_tokens(row):
    params, window, drawn = make(row)
    sum_tokens = jax.grad(lambda p: jnp.sum(row.head.sum_nll(*p, *window, drawn)[1]))
    grads = jax.jit(sum_tokens)(params)
    assert not any(jnp.any(g) for g in jax.tree.leaves(grads))


@each_row
def test_padding_adds_nothing_to_the_nll_or_to_a_gradient(row):
    (own, table, hs), window, drawn = make(row)
    total = jax.grad(lambda hs: row.head.sum_nll(own, table, hs, *window, drawn)[0])
    d_hs = jax.jit(total)(hs)
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


def test_clusters_are_not_copied_to_score_a_few_tokens():
    row = Row(adaptive((100, 1_000)), 128, 128)
    params, window, _ = make(row, t=2, b=4, v=50_000)
    program = jax.jit(row.head.sum_nll).lower(*params, *window, None).compile()
    table_bytes = sum(rows.nbytes for rows in params[1].rows)
    assert program.memory_analysis().temp_size_in_bytes < table_bytes / 3


@each_row
def test_it_is_mapped_over_models(row):
    params, window, drawn = make(row)
    two = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    one = jax.jit(lambda p: row.head.sum_nll(*p, *window, drawn))
    together = jax.vmap(one)(two)
    for i, k in enumerate((1, 2)):
        alone = one(jax.tree.map(lambda p, k=k: k * p, params))
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
    whole = row.head.sample_masks(key, ids, row.embed_dim)
    halves = [row.head.sample_masks(key, part, row.embed_dim) for part in jnp.split(ids, 2)]
    assert len(jax.tree.leaves(whole)) == (row is ROWS["mixture"])
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


# ---- the mixture ----


def test_a_mixture_of_one_with_the_features_as_its_latent_is_the_tied_softmax():
    (own, table, hs), *_ = make(ROWS["tied"])
    mixed = log_mixture(jnp.zeros((T, B, 1)), hs[:, :, None], table, own.bias)
    np.testing.assert_allclose(mixed, tied().log_probs(own, table, hs), rtol=1e-5, atol=1e-5)


def softmax_of(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_a_mixture_weighs_the_softmax_of_each_latent_by_its_prior(x64):
    row = ROWS["mixture"]
    (own, table, hs), (targets, weights), mask = make(row, np.float64)
    own, table, hs = jax.tree.map(np.asarray, (own, table, hs))
    priors = softmax_of(hs @ own.w_prior)
    latents = np.tanh(hs @ own.w_latent + own.b_latent) * np.asarray(mask)
    each = softmax_of(latents.reshape(T, B, 3, E) @ table.T + own.bias)
    p = np.einsum("tbk,tbkv->tbv", priors, each)
    _, nll = row.head.sum_nll(*make(row, np.float64)[0], targets, weights, mask)
    picked = np.take_along_axis(p, np.asarray(targets)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(nll, -np.log(picked), rtol=1e-6)  # the mask is float32
    assert mask.shape == (1, B, 3 * E)
    np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.6], rtol=1e-6)


def test_a_mixture_of_improbable_tokens_does_not_underflow():
    row = ROWS["mixture"]
    (own, table, hs), (targets, weights), _ = make(row)
    own = own._replace(bias=jnp.where(jnp.arange(V) == 0, 500.0, own.bias))
    _, nll = row.head.sum_nll(own, table, hs, jnp.ones_like(targets), weights)
    assert jnp.all((nll > 400) & (nll < 600))


# ---- the adaptive softmax ----


def test_an_adaptive_softmax_of_one_cluster_is_the_tied_softmax():
    (own, table, hs), window, _ = make(ROWS["tied"])
    alone = AdaptiveParams(jnp.zeros((0, E)), jnp.zeros(0), own.bias), AdaptiveTable((table,))
    head = adaptive(())
    same = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    same(head.log_probs(*alone, hs), tied().log_probs(own, table, hs))
    jax.tree.map(same, head.sum_nll(*alone, hs, *window), tied().sum_nll(own, table, hs, *window))


def test_a_rare_token_has_the_probability_of_its_cluster_times_that_within():
    (own, table, hs), *_ = make(ROWS["adaptive"])
    h = np.asarray(hs[0, 0])
    logits = np.concatenate(table.rows) @ h + np.asarray(own.bias)
    columns = own.clusters @ h + np.asarray(own.cluster_bias)
    of_head = softmax_of(np.concatenate([logits[:4], columns]))
    expected = np.concatenate(
        [of_head[:4], of_head[4] * softmax_of(logits[4:7]), of_head[5] * softmax_of(logits[7:])]
    )
    log_probs = ROWS["adaptive"].head.log_probs(own, table, hs[0, 0])
    np.testing.assert_allclose(np.exp(log_probs), expected, rtol=1e-5)


def test_a_cluster_without_a_target_is_not_computed():
    """Else the NaN of its vectors would reach the loss, and its gradient."""
    (own, table, hs), (targets, weights), _ = make(ROWS["adaptive"])
    table = AdaptiveTable((*table.rows[:2], jnp.full_like(table.rows[2], jnp.nan)))

    def loss(hs, targets):
        return ROWS["adaptive"].head.sum_nll(own, table, hs, targets, weights)[0]

    assert not jnp.isfinite(loss(hs, targets))
    assert all(map(jnp.all, map(jnp.isfinite, jax.value_and_grad(loss)(hs, targets % 7))))


def test_clusters_of_narrower_vectors_are_mapped_to_the_width_of_the_embedding():
    row = ROWS["adaptive-div_val"]
    _, table, _ = make(row)[0]
    assert [r.shape for r in table.rows] == [(2, 8), (3, 4), (3, 2), (3, 1)]
    vectors = np.concatenate([r @ p for r, p in zip(*table, strict=True)])
    ids = jnp.asarray([[0, 10], [1, 7], [4, 3]])
    np.testing.assert_allclose(row.head.look_up(table, ids), vectors[ids], rtol=1e-5, atol=1e-6)


def test_vectors_of_every_cluster_start_alike():
    table = adaptive((100, 200), div_val=4).init_table(jax.random.key(0), 400, 64)
    own = adaptive((100, 200), div_val=4).look_up(table, jnp.arange(400))
    deviations = [own[part].std() for part in (slice(100), slice(100, 200), slice(200, 400))]
    np.testing.assert_allclose(deviations, 0.1 / np.sqrt(3), rtol=0.3)
