"""Attention with relative and absolute positions, beside loops in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import attention
from awd_jax.core.attention import Positions, attend, sinusoids, visible, visible_in_segment
from awd_jax.core.masks import Kept

T, M, B, N, H = 6, 5, 3, 2, 4
K = M + T
FILLED = np.array([0, 2, 5])


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes)


QKV = draw((T, B, N, H), (K, B, N, H), (K, B, N, H))
POSITIONS = Positions(*draw((K, N, H), (N, H), (N, H), seed=1))
MASK = Kept(jnp.asarray(np.random.default_rng(2).random((T, B, N, K)) < 0.7), jnp.float32(1 / 0.7))


def by_loops(qkv, sees, positions=None, mask=None):
    """The definition: one query, one head, and one key at a time."""
    queries, keys, values = (np.asarray(a, np.float64) for a in qkv)
    result = np.zeros(queries.shape)
    for i, b, n in np.ndindex(queries.shape[:-1]):
        q = queries[i, b, n]
        scores = {}
        for j in range(len(keys)):
            if not sees(i, b, j):
                continue
            score = q @ keys[j, b, n]
            if positions is not None:
                rs, u, v = (np.asarray(a, np.float64) for a in positions)
                p = i + len(keys) - len(queries) - j
                score = (q + u[n]) @ keys[j, b, n] + (q + v[n]) @ rs[p, n]
            scores[j] = math.exp(score / math.sqrt(H))
        for j, score in scores.items():
            weight = score / sum(scores.values())
            if mask is not None:
                weight *= float(mask.is_kept[i, b, n, j]) * float(mask.scale)
            result[i, b, n] += weight * values[j, b, n]
    return result


def sees_the_past(i, b, j):
    return M - FILLED[b] <= j <= i + M


def sees_as_many(i, b, j):
    return sees_the_past(i, b, j) and j > i


@pytest.mark.parametrize("mask", [None, MASK], ids=["", "dropout"])
@pytest.mark.parametrize("positions", [None, POSITIONS], ids=["absolute", "relative"])
@pytest.mark.parametrize("sees", [sees_the_past, sees_as_many])
def test_it_is_the_sum_over_keys(sees, positions, mask):
    is_visible = visible(jnp.asarray(FILLED), T, M, same_length=sees is sees_as_many)
    got = attend(*QKV, is_visible, positions, mask)
    np.testing.assert_allclose(got, by_loops(QKV, sees, positions, mask), rtol=1e-5, atol=1e-6)


def test_it_computes_in_the_precision_of_its_arguments(x64):
    qkv, positions = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (QKV, POSITIONS))
    for mask in (None, MASK._replace(scale=jnp.float64(1 / 0.7))):
        got = attend(*qkv, visible(jnp.asarray(FILLED), T, M), positions, mask)
        expected = by_loops(qkv, sees_the_past, positions, mask)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_without_a_memory_it_is_the_window_alone():
    qkv, positions = tuple(a[-T:] for a in QKV), POSITIONS._replace(rs=POSITIONS.rs[:T])
    got = attend(*qkv, visible(jnp.zeros(B, int), T, 0), positions)
    np.testing.assert_allclose(got, by_loops(qkv, lambda i, b, j: j <= i, positions), rtol=1e-5)


def test_segments_see_nothing_of_another():
    """The text at index 2 + i; of segments of 5, the third sequence's memory holds all of one."""
    filled = jnp.asarray([0, 2, 4])
    got = visible_in_segment(filled, T, M)
    for b, i, j in np.ndindex(B, T, K):
        query, key = int(filled[b]) + i, int(filled[b]) + j - M
        assert got[b, i, j] == (0 <= key <= query and key // M == query // M)
    np.testing.assert_array_equal(visible_in_segment(filled * 0, T, 0)[0], np.tri(T))


@pytest.mark.parametrize("mask", [None, MASK], ids=["", "dropout"])
@pytest.mark.parametrize("positions", [None, POSITIONS], ids=["absolute", "relative"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_change_neither_values_nor_gradients(block, positions, mask, monkeypatch):
    is_visible = visible(jnp.asarray(FILLED), T, M)
    (weights,) = draw((T, B, N, H), seed=3)

    def loss(qkv, positions):
        return jnp.sum(weights * attend(*qkv, is_visible, positions, mask))

    expected = jax.value_and_grad(loss, (0, 1))(QKV, positions)
    monkeypatch.setattr(attention, "BLOCK_SCORES", block * B * N * K)
    program = jax.jit(jax.value_and_grad(loss, (0, 1)))
    scores = f"{B},{N},{T},{K}"
    assert scores not in program.lower(QKV, positions).as_text().replace("x", ",")
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5),
        program(QKV, positions),
        expected,
    )


def test_what_is_not_seen_has_no_gradient():
    """The future, and slots of the memory that are not filled."""

    def last_but_one(keys, values):
        is_visible = visible(jnp.asarray(FILLED), T, M)
        return jnp.sum(attend(QKV[0], keys, values, is_visible, POSITIONS)[-2])

    for grad in jax.grad(last_but_one, (0, 1))(*QKV[1:]):
        reached = np.any(np.asarray(grad) != 0, axis=(-2, -1))
        expected = [[sees_the_past(T - 2, b, j) for b in range(B)] for j in range(K)]
        np.testing.assert_array_equal(reached, expected)


def test_positions_are_sines_then_cosines_of_falling_frequencies():
    got = sinusoids(jnp.asarray([0.0, 3.0, 100.0]), 6)
    for row, position in zip(got, (0, 3, 100), strict=True):
        angles = [position / 10_000 ** (n / 3) for n in range(3)]
        np.testing.assert_allclose(row[:3], np.sin(angles), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(row[3:], np.cos(angles), rtol=1e-4, atol=1e-5)
