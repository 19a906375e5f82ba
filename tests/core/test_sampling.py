"""Text drawn from a model."""

import jax
import jax.numpy as jnp
import numpy as np

from awd_jax.core.sampling import sample_tokens

KEY = jax.random.key(0)


def test_each_token_follows_from_the_one_before_and_the_carry():
    """A model sure of token + carry, where the carry counts steps."""

    def count(carry, tokens):
        return 1e9 * jax.nn.one_hot((tokens + carry) % 10, 10), carry + 1

    drawn = sample_tokens(KEY, count, jnp.asarray(1), jnp.array([0, 5]), 5)
    np.testing.assert_array_equal(drawn, [[1, 6], [3, 8], [6, 1], [0, 5], [5, 0]])


def test_tokens_are_as_frequent_as_the_softmax_says():
    probs = jnp.array([0.6, 0.3, 0.1, 0.0])

    def memoryless(carry, tokens):
        return jnp.broadcast_to(jnp.log(probs), (tokens.size, probs.size)), carry

    drawn = sample_tokens(KEY, memoryless, None, jnp.zeros(50, jnp.int32), 200)
    frequencies = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_array_less(
        np.abs(frequencies - probs), 5 * np.sqrt(probs * (1 - probs) / drawn.size) + 1e-9
    )
    assert jnp.any(drawn[0] != drawn[1]) and jnp.any(drawn[:, 0] != drawn[:, 1])
