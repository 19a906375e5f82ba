"""The static pass over a text: the softmax alone, and with the cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from awd_jax.data.windows import batchify, even_plan
from awd_jax.run.replicas import Replicas
from awd_jax.tasks.cache import make_mix, make_static_pass, useful_window
from awd_jax.train.evaluation import make_evaluate
from tests.tasks.small import MODEL, PARAMS, STREAM

SETTINGS = ConfigDict({"window": 10, "theta": 2.0, "lamb": 0.25})


def define():
    """Both means: the definition over the whole text, in float64."""
    inputs = jnp.asarray(STREAM[:-1])
    log_probs, _ = MODEL.log_probs(PARAMS, inputs, MODEL.initial_carry(1))
    window = jax.tree.map(jnp.asarray, even_plan(STREAM, len(inputs))[0])
    score = MODEL.score(PARAMS, window, MODEL.initial_carry(1))
    hs = np.float64(score.features.raw_hs[:, 0])
    next_tokens = STREAM[1:, 0]
    p_vocab = np.exp(np.float64(log_probs[np.arange(len(hs)), 0, next_tokens]))
    p_mixed = p_vocab.copy()
    for t in range(1, len(hs)):
        seen = slice(max(0, t - SETTINGS.window), t)
        attention = np.exp(SETTINGS.theta * hs[seen] @ hs[t])
        p_cache = attention[next_tokens[seen] == next_tokens[t]].sum() / attention.sum()
        p_mixed[t] = SETTINGS.lamb * p_cache + (1 - SETTINGS.lamb) * p_vocab[t]
    return -np.log(p_vocab).mean(), -np.log(p_mixed).mean()


@pytest.mark.parametrize("steps", [7, 64])
def test_both_are_the_definition_however_the_text_is_cut(steps):
    static_pass = make_static_pass(MODEL, make_mix(SETTINGS), SETTINGS.window, steps)
    scored = static_pass(PARAMS, STREAM, "test")
    np.testing.assert_allclose(scored.nlls, define(), rtol=1e-5)
    assert scored.nlls[0] != scored.nlls[1]


def test_a_window_longer_than_the_text_is_no_larger_than_it():
    assert useful_window(5_000_000, 38, 5) == 37
    assert useful_window(3, 38) == 3
    wide, all_there_is = (
        make_static_pass(MODEL, make_mix(SETTINGS), window)(PARAMS, STREAM, "test").nlls
        for window in (1000, useful_window(1000, len(STREAM)))
    )
    np.testing.assert_allclose(wide, all_there_is, rtol=1e-5)


def test_the_softmax_alone_is_what_evaluation_gives_at_batch_1():
    evaluate = make_evaluate(MODEL, Replicas(jax.devices()[:1]))
    static = evaluate(PARAMS, even_plan(batchify(STREAM[:, 0], 1), 8))
    scored = make_static_pass(MODEL, make_mix(SETTINGS), 10, 16)(PARAMS, STREAM, "test")
    assert scored.nlls[0] == pytest.approx(static, rel=1e-5)
