"""Logits of the tied softmax."""

import jax.numpy as jnp
import numpy as np

from awd_jax.core.softmax import tied_logits


def test_a_word_scores_by_its_embedding_and_its_bias():
    random = np.random.default_rng(0)
    features, embedding, bias = (
        random.normal(size=shape).astype(np.float32) for shape in ((7, 3, 5), (11, 5), (11,))
    )
    expected = np.einsum("tbd,vd->tbv", features, embedding) + bias
    logits = tied_logits(*map(jnp.asarray, (features, embedding, bias)))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
