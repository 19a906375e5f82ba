"""Text drawn from a model, and the filters before."""

import hypothesis
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from awd_jax.core.sampling import forbid, keep_nucleus, keep_top_k, sample_token, temper

KEY = jax.random.key(0)
B, V = 3, 7
logits_of_a_batch = hnp.arrays(
    np.float32, (B, V), elements=st.integers(-40, 40).map(lambda i: np.float32(i / 4))
)


def kept(logits):
    return np.isfinite(np.asarray(logits))


def draw(probs, batch_size, num_tokens):
    """Texts of independent tokens [T, B], each step with a key of its own, as a task draws them."""
    logits = jnp.log(jnp.tile(jnp.asarray(probs), (batch_size, 1)))
    return jax.lax.map(
        lambda t: sample_token(jax.random.fold_in(KEY, t), logits), jnp.arange(num_tokens)
    )


def test_a_model_that_is_sure_draws_its_token():
    for token in range(V):
        logits = 1e9 * jax.nn.one_hot(jnp.full(B, token), V)
        np.testing.assert_array_equal(sample_token(KEY, logits), np.full(B, token))


def test_tokens_are_as_frequent_as_the_softmax_says():
    probs = jnp.array([0.6, 0.3, 0.1, 0.0])
    drawn = draw(probs, 50, 200)
    frequencies = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_array_less(
        np.abs(frequencies - probs), 5 * np.sqrt(probs * (1 - probs) / drawn.size) + 1e-9
    )
    assert jnp.any(drawn[0] != drawn[1]) and jnp.any(drawn[:, 0] != drawn[:, 1])


def test_a_key_gives_the_same_tokens_on_every_platform_and_version():
    drawn = draw([0.1, 0.2, 0.3, 0.4], 2, 12)
    assert drawn.T.tolist() == [
        [0, 2, 1, 2, 1, 3, 3, 3, 2, 3, 2, 3],
        [2, 3, 2, 2, 3, 2, 2, 1, 2, 0, 1, 1],
    ]


def test_a_larger_draw_begins_with_a_smaller_one():
    small, large = (draw([0.02] * 50, *shape) for shape in ((2, 5), (4, 9)))
    np.testing.assert_array_equal(small, large[:5, :2])


@hypothesis.given(logits_of_a_batch)
def test_a_low_temperature_and_the_top_1_are_greedy(logits):
    logits += np.arange(V, dtype=np.float32) / 64  # no two are equal
    best = logits.argmax(-1)
    np.testing.assert_array_equal(sample_token(KEY, keep_top_k(jnp.asarray(logits), 1)), best)
    np.testing.assert_array_equal(sample_token(KEY, temper(jnp.asarray(logits), 1e-6)), best)
    np.testing.assert_array_equal(sample_token(KEY, keep_nucleus(jnp.asarray(logits), 1e-6)), best)


@hypothesis.given(logits_of_a_batch, st.integers(1, V))
def test_the_top_k_are_the_k_largest_and_their_equals(logits, k):
    filtered = np.asarray(keep_top_k(jnp.asarray(logits), k))
    least = np.sort(logits, axis=-1)[:, -k, None]
    np.testing.assert_array_equal(filtered, np.where(logits < least, -np.inf, logits))


@hypothesis.given(logits_of_a_batch, st.floats(0.01, 0.99))
def test_the_nucleus_is_the_least_set_with_its_mass(logits, mass):
    filtered = keep_nucleus(jnp.asarray(logits), mass)
    probs = np.asarray(jax.nn.softmax(logits.astype(np.float64), axis=-1), np.float64)
    for row, is_kept, filtered_row, p in zip(
        logits, kept(filtered), np.asarray(filtered), probs, strict=True
    ):
        assert is_kept.any()
        np.testing.assert_array_equal(filtered_row[is_kept], row[is_kept])
        assert p[is_kept].sum() >= mass - 1e-5
        least = row[is_kept].min()
        assert is_kept[row >= least].all()  # the most probable, with no gap
        assert p[row > least].sum() < mass + 1e-5  # without the last ones it would be too little


@hypothesis.given(logits_of_a_batch)
def test_a_nucleus_of_everything_and_a_temperature_of_one_change_nothing(logits):
    np.testing.assert_array_equal(keep_nucleus(jnp.asarray(logits), 1.0), logits)
    p = jax.nn.softmax(temper(jnp.asarray(logits), 1.0))
    np.testing.assert_allclose(p, jax.nn.softmax(jnp.asarray(logits)), rtol=1e-5)


def test_the_smallest_temperature_leaves_the_largest_logit():
    logits = jnp.asarray([30.0, 40.0, 90.0, 89.0, -jnp.inf])  # three are infinite over 1.2e-38
    np.testing.assert_array_equal(jax.nn.softmax(temper(logits, 1.2e-38)), [0, 0, 1, 0, 0])


def test_what_is_forbidden_stays_so_through_every_filter():
    logits = forbid(jnp.zeros((2, 4)), 2)
    for filtered in (logits, keep_top_k(logits, 4), keep_nucleus(logits, 1.0), temper(logits, 0.5)):
        np.testing.assert_array_equal(kept(filtered), np.tile([True, True, False, True], (2, 1)))


@pytest.mark.parametrize("shape", [(V,), (B, V), (2, B, V)])
def test_filters_take_any_number_of_distributions(shape):
    logits = jax.random.normal(KEY, shape)
    for filtered in (keep_top_k(logits, 2), keep_nucleus(logits, 0.5), forbid(logits, 0)):
        assert filtered.shape == shape
    assert sample_token(KEY, logits).shape == shape[:-1]
