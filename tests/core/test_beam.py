"""Beam search against a search through all sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.beam import beam_step, init_beams

V, T, FIRST, END = 3, 4, 1, 0
# Logits after the last two tokens: the carry is the token before the last.
TABLE = jax.random.normal(jax.random.key(1), (V, V, V))


def next_logits(carry, tokens):
    return TABLE[carry, tokens], tokens


def log_prob(sequence, end=None):
    total, before, last = 0.0, 0, FIRST
    for token in sequence:
        total += float(jax.nn.log_softmax(TABLE[before, last])[token])
        before, last = last, token
        if token == end:
            break
    return total


def all_sequences(end):
    """Best first; those that have ended hold only `end` from there on."""
    sequences = [
        s
        for s in itertools.product(range(V), repeat=T)
        if all(b == end for a, b in itertools.pairwise(s) if a == end)
    ]
    return sorted(((log_prob(s, end), s) for s in sequences), reverse=True)


def search(num_beams, end=None):
    step = jax.jit(lambda beams: beam_step(beams, next_logits, FIRST, end))
    beams = init_beams(jnp.zeros(num_beams, jnp.int32), num_beams, T)
    for _ in range(T):
        beams = step(beams)
    return beams


@pytest.mark.parametrize("end", [None, END])
def test_with_beams_enough_it_finds_the_best_of_all_sequences_in_order(end):
    num_beams = V ** (T - 1)
    beams = search(num_beams, end)
    best = all_sequences(end)
    found = np.isfinite(beams.log_probs)
    assert found.sum() == min(num_beams, len(best))
    for tokens, value, (expected, sequence) in zip(
        beams.tokens, beams.log_probs, best[:num_beams], strict=False
    ):
        assert tuple(tokens.tolist()) == sequence
        assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("num_beams", [1, 2, 5])
def test_what_few_beams_find_has_the_probability_they_say(num_beams, end):
    beams = search(num_beams, end)
    values = [log_prob(tokens, end) for tokens in beams.tokens.tolist()]
    np.testing.assert_allclose(beams.log_probs, values, rtol=1e-5)
    assert values == sorted(values, reverse=True)
    assert values[0] <= all_sequences(end)[0][0] + 1e-5
    assert len(set(map(tuple, beams.tokens.tolist()))) == num_beams


def test_one_beam_is_greedy():
    before, last, greedy = 0, FIRST, []
    for _ in range(T):
        token = int(TABLE[before, last].argmax())
        greedy.append(token)
        before, last = last, token
    assert search(1).tokens[0].tolist() == greedy
