"""Whole searches from a source: against all continuations, and a batch against one at a time.

The translator is a table: its carry holds a source and the attention that its tokens have had.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.beam import Penalties, beam_step, init_beams, search
from awd_jax.core.decoding import choose_best, decode, sampler

V, S, T, END = 4, 3, 4, 0
TABLE = 2 * jax.random.normal(jax.random.key(1), (S, V, V))  # of a source and the last token
ROWS = np.asarray(jax.nn.log_softmax(TABLE))
ATTENTION = jax.nn.softmax(3 * jax.random.normal(jax.random.key(2), (V, S)))  # of the last token
ATTENTION_ROWS = np.asarray(ATTENTION)
SOURCES = jnp.arange(3)
WEIGHTS = jnp.array([[1.0, 1, 1], [1, 1, 0], [1, 0, 0]])

REAL = np.asarray(WEIGHTS) > 0


def next_logits(carry, tokens):
    source, attended = carry
    return TABLE[source, tokens], (source, attended + ATTENTION[tokens])


def next_log_probs(carry, tokens):
    logits, carry = next_logits(carry, tokens)
    return jax.nn.log_softmax(logits), carry


@functools.cache
def all_texts(source, alpha, beta):
    """Best first, with score and log-probability, as section 7 of Wu et al. 2016 writes them."""
    texts = []
    for length in range(1, T + 1):
        for tokens in itertools.product(range(V), repeat=length):
            if END in tokens[:-1] or (length < T and tokens[-1] != END):
                continue
            log_prob, attended, last = 0.0, np.zeros(S), END
            for token in tokens:
                log_prob += float(ROWS[source, last, token])
                attended += ATTENTION_ROWS[last]
                last = token
            real = attended[REAL[source]]
            coverage = beta * sum(math.log(min(float(a), 1)) for a in real)
            texts.append((log_prob / ((5 + length) / 6) ** alpha + coverage, log_prob, tokens))
    return sorted(texts, reverse=True)


@jax.jit(static_argnums=(2, 3, 4))
def search_from(source, weights, num_beams, alpha=0.0, beta=0.0):
    penalties = Penalties(alpha, beta, lambda carry: carry[1], weights)
    carry = (source, jnp.zeros(S))
    return search(next_logits, carry, END, END, num_beams, T, penalties)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.6, 0.0), (2.0, 0.3), (0.0, 1.0)])
def test_with_beams_enough_it_finds_all_texts_in_order(alpha, beta):
    num_beams = 3**3 * V + 20  # more than there are texts
    for source in (0, 1):
        beams = jax.device_get(
            search_from(SOURCES[source], WEIGHTS[source], num_beams, alpha, beta)
        )
        expected = {tokens: values for *values, tokens in all_texts(source, alpha, beta)}
        found = {}
        for i in np.flatnonzero(np.isfinite(beams.scores)):
            tokens = tuple(beams.tokens[i, : beams.lengths[i]].tolist())
            found[tokens] = [beams.scores[i], beams.log_probs[i]]
            assert beams.is_ended[i] == (tokens[-1] == END)
        assert len(found) == np.isfinite(beams.scores).sum()
        assert found == {t: pytest.approx(v, rel=1e-4, abs=1e-5) for t, v in expected.items()}
        assert (np.diff(beams.scores[: len(found)]) <= 0).all()  # in order; some are equal


def test_the_penalties_decide():
    """Else the test above would hold without them."""
    firsts = {all_texts(0, alpha, beta)[0][2] for alpha, beta in [(0, 0), (2.0, 0.3), (0, 1.0)]}
    assert len(firsts) > 1


@pytest.mark.parametrize("num_beams", [1, 2, 5])
def test_without_penalties_it_is_the_search_step_by_step(num_beams):
    beams = init_beams((jnp.full(num_beams, SOURCES[1]), jnp.zeros((num_beams, S))), num_beams, T)
    step = jax.jit(lambda beams: beam_step(beams, next_logits, END, END))
    for _ in range(T):
        beams = step(beams)
    found = search_from(SOURCES[1], WEIGHTS[1], num_beams)
    np.testing.assert_array_equal(found.tokens, beams.tokens)
    np.testing.assert_allclose(found.log_probs, beams.log_probs, rtol=1e-6)
    np.testing.assert_array_equal(found.scores, found.log_probs)


def test_a_batch_is_searched_as_each_source_alone():
    options = (3, 0.6, 0.2)
    batch = jax.vmap(lambda source, weights: search_from(source, weights, *options))(
        SOURCES, WEIGHTS
    )
    for i in range(len(SOURCES)):
        alone = search_from(SOURCES[i], WEIGHTS[i], *options)
        one = jax.tree.map(lambda leaf, i=i: leaf[i], batch)
        np.testing.assert_array_equal(one.tokens, alone.tokens)
        np.testing.assert_array_equal(one.lengths, alone.lengths)
        np.testing.assert_allclose(one.scores, alone.scores, rtol=1e-6)
        assert one.num_drawn == alone.num_drawn


def test_it_stops_where_all_have_ended():
    def says_two_tokens(carry, tokens):
        logits = jnp.full((2, V), -jnp.inf)
        return logits.at[0, 2].set(0.0).at[1, END].set(0.0)[carry], jnp.minimum(carry + 1, 1)

    beams = search(says_two_tokens, jnp.int32(0), END, END, num_beams=3, num_tokens=50)
    assert (int(beams.num_drawn), int(beams.lengths[0])) == (2, 2)
    assert beams.tokens[0, :2].tolist() == [2, END]
    assert np.isfinite(beams.scores).tolist() == [True, False, False]


@jax.jit(static_argnums=0)
def decoded(choose, sources):
    carry = (sources, jnp.zeros((len(sources), S)))
    return decode(next_log_probs, choose, carry, jnp.full(len(sources), END), END, T)


def test_one_beam_is_greedy():
    greedy = decoded(choose_best, SOURCES)
    for i in range(len(SOURCES)):
        beams = search_from(SOURCES[i], WEIGHTS[i], 1, 0.6)
        length = int(greedy.lengths[i])
        assert length == int(beams.lengths[0])
        assert greedy.tokens[i, :length].tolist() == beams.tokens[0, :length].tolist()
        assert (greedy.tokens[i, length:] == END).all()
        assert float(greedy.log_probs[i]) == pytest.approx(float(beams.log_probs[0]), rel=1e-6)


def test_greedy_takes_the_most_probable_token_each_time():
    greedy = decoded(choose_best, SOURCES)
    for source in range(len(SOURCES)):
        last, log_prob, tokens = END, 0.0, []
        while len(tokens) < T and (not tokens or last != END):
            row = ROWS[source, last]
            last = int(row.argmax())
            log_prob += float(row[last])
            tokens.append(last)
        assert greedy.tokens[source].tolist() == tokens + [END] * (T - len(tokens))
        assert float(greedy.log_probs[source]) == pytest.approx(log_prob, rel=1e-6)


def test_a_draw_depends_on_its_key_and_not_on_the_batch():
    @jax.jit
    def draw(keys, sources):
        carry = (sources, jnp.zeros((len(sources), S)))
        first = jnp.full(len(sources), END)
        return decode(next_log_probs, sampler(keys, lambda x: x), carry, first, END, T)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(200))
    sources = jnp.zeros(200, jnp.int32)
    many = draw(keys, sources)
    few = draw(keys[7:9], sources[7:9])
    np.testing.assert_array_equal(few.tokens, many.tokens[7:9])
    np.testing.assert_allclose(few.log_probs, many.log_probs[7:9], rtol=1e-6)
    assert len(set(map(tuple, many.tokens.tolist()))) > 10
    frequency = np.bincount(many.tokens[:, 0], minlength=V) / 200  # of the first token
    np.testing.assert_allclose(frequency, jax.nn.softmax(TABLE[0, END]), atol=0.1)


def test_each_step_draws_anew():
    def always_flat(carry, tokens):
        log_probs = jnp.log(jnp.array([0.0, 1, 1, 1]) / 3)  # never the end
        return jnp.broadcast_to(log_probs, (len(tokens), V)), carry

    keys = jax.random.split(jax.random.key(0), 20)
    draw = jax.jit(
        lambda: decode(
            always_flat, sampler(keys, lambda x: x), (), jnp.zeros(20, jnp.int32), END, T
        )
    )
    found = draw()
    assert (found.lengths == T).all()
    assert len(set(map(tuple, found.tokens.tolist()))) > 10  # of one draw there are V - 1
