"""Attention to a source, beside the formulas in loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.alignment import ALIGNMENTS, attend, combine, init_combine, make_memory

T, B, S, H = 2, 3, 4, 5
LENGTHS = np.array([4, 1, 3])
REAL = jnp.asarray(np.arange(S)[:, None] < LENGTHS)


def formula(name, p, q, s):
    """The score of one query and one state."""
    match name:
        case "dot":
            return q @ s
        case "scaled":
            return p.g * (q @ s)
        case "general":
            return q @ (s @ p.w)
        case "concat":
            return p.v @ np.tanh(np.concatenate([q, s]) @ p.w)
        case "additive":
            return p.v @ np.tanh(q @ p.w_query + s @ p.w_memory)
        case "normed_additive":
            v = p.g * p.v / np.sqrt(np.sum(np.square(p.v)))
            return v @ np.tanh(q @ p.w_query + s @ p.w_memory + p.b)


def make(name, memory_dim):
    random = np.random.default_rng(0)
    like = ALIGNMENTS[name].init(jax.random.key(0), H, memory_dim, 6)
    params = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape), jnp.float32), like)
    queries = jnp.asarray(random.normal(size=(T, B, H)), jnp.float32)
    hs = jnp.asarray(random.normal(size=(S, B, memory_dim)), jnp.float32)
    return params, queries, hs


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_contexts_are_means_of_the_states_weighted_by_the_softmax_of_the_scores(name):
    params, queries, hs = make(name, H if name in ("dot", "scaled") else 7)
    kind = ALIGNMENTS[name]
    memory = make_memory(kind, params, hs, REAL)
    contexts, weights = jax.jit(lambda q: attend(kind, params, q, memory))(queries)
    wide = jax.tree.map(np.float64, params)
    for t, b in np.ndindex(T, B):
        states = np.float64(hs[: LENGTHS[b], b])
        scores = np.array([formula(name, wide, np.float64(queries[t, b]), s) for s in states])
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[t, b, : LENGTHS[b]], expected, rtol=1e-5)
        assert not np.any(weights[t, b, LENGTHS[b] :])
        np.testing.assert_allclose(contexts[t, b], expected @ states, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_padding_has_no_influence_even_if_it_is_not_a_number(name):
    params, queries, hs = make(name, H)
    kind = ALIGNMENTS[name]

    def total(params, queries, hs):
        contexts, weights = attend(kind, params, queries, make_memory(kind, params, hs, REAL))
        return jnp.sum(jnp.sin(contexts)) + jnp.sum(weights**2)

    grad = jax.jit(jax.grad(total, (0, 1, 2)))
    expected = grad(params, queries, hs)
    hs_padded = jnp.where(REAL[:, :, None], hs, jnp.nan)
    got = grad(params, queries, hs_padded)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert not np.any(np.asarray(got[2])[~np.asarray(REAL)])


@pytest.mark.parametrize("name", ["dot", "scaled"])
def test_products_need_states_of_the_same_width(name):
    with pytest.raises(ValueError, match=r"states have 5 features, the encoder's 7, and must"):
        ALIGNMENTS[name].init(jax.random.key(0), 5, 7, 5)


def test_the_attentional_state_reads_the_context_first():
    params = init_combine(jax.random.key(0), 7, H, 6)
    random = np.random.default_rng(1)
    contexts, hs = random.normal(size=(T, B, 7)), random.normal(size=(T, B, H))
    got = combine(params, jnp.asarray(contexts, jnp.float32), jnp.asarray(hs, jnp.float32))
    expected = np.tanh(contexts @ params.w[:7] + hs @ params.w[7:])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
