"""What is measured of greedy translations, and which epoch is the best."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax import cross_rules
from awd_jax.data.buckets import choose_shapes, even_plan
from awd_jax.data.pairs import Pairs, Ragged
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from awd_jax.run.replicas import Replicas
from awd_jax.train import measures
from awd_jax.train.measures import Found, make_measure

VOCABULARY = Vocabulary(("<eos>", "a", "b", "c", "<unk>"))
A, B, C = 1, 2, 3


class Copier:
    """A translator that writes its source, but b for c."""

    vocab_size = source_vocab_size = len(VOCABULARY)
    init_params = initial_carry = for_evaluation = sample_masks = score = NotImplemented
    attended = alignment = NotImplemented

    def read(self, params, sources, source_weights):
        return jnp.where(source_weights > 0, sources, 0).T, jnp.zeros(sources.shape[1], jnp.int32)

    def log_probs(self, params, inputs, carry):
        sources, t = carry
        wide = jnp.pad(sources, ((0, 0), (0, 99)))
        token = jnp.take_along_axis(wide, t[:, None], axis=1)[:, 0]
        token = jnp.where(token == C, B, token)
        log_probs = jnp.where(jax.nn.one_hot(token, len(VOCABULARY)) > 0, 0.0, -9.0)
        return (log_probs + 0 * params)[None], (sources, t + 1)


def make_plan(batch_size):
    rows = [[A], [A, B], [A, B, A], [C, A], [A, A, C, A]]
    ragged = Ragged.of(np.array(row, np.int32) for row in rows)
    pairs = Pairs(ragged, ragged)
    return even_plan(pairs, choose_shapes(pairs, (), 2), batch_size, VOCABULARY.eos_id)


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("batch_size", [3, 8])
def test_measures_are_of_every_pair_once_on_any_number_of_devices(num_devices, batch_size):
    replicas = Replicas(jax.devices()[:num_devices])
    names, calls = ("exact_match", "token_accuracy"), []
    measure = make_measure(
        names, VOCABULARY, "char", Copier(), replicas, lambda: calls.append(None)
    )
    plan = make_plan(batch_size)
    got = measure(jnp.zeros(()), plan)
    assert got == {"exact_match": 3 / 5, "token_accuracy": 15 / 17}
    assert len(calls) == len(plan)


def test_a_translation_without_an_end_is_no_match():
    assert measures._to_end(np.array([A, B, 0, A, 0]), 0) == [A, B, 0]
    endless = measures._to_end(np.array([A, B]), 0)
    assert not measures._exact_match([Found([A, 0], endless)], tuple)


@pytest.mark.skipif(not importlib.util.find_spec("sacrebleu"), reason="needs sacrebleu")
def test_bleu_and_chrf_are_those_of_sacrebleu():
    import sacrebleu

    measure = make_measure(
        *(("bleu", "chrf"), VOCABULARY, "word", Copier(), Replicas(jax.devices()[:1])),
        lambda: None,
    )
    ours = ["a", "a b", "a b a", "b a", "a a b a"]
    targets = ["a", "a b", "a b a", "c a", "a a c a"]
    assert measure(jnp.zeros(()), make_plan(4)) == {
        "bleu": sacrebleu.corpus_bleu(ours, [targets], force=True).score,
        "chrf": sacrebleu.corpus_chrf(ours, [targets]).score,
    }


def test_a_measure_whose_package_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    measures.check_measures(("exact_match",))
    with pytest.raises(InputError, match=r"chrf needs sacrebleu; install it: pip install"):
        measures.check_measures(("exact_match", "chrf"))


def test_the_rules_of_a_config_know_the_measures():
    assert {*cross_rules.MEASURES["seq2seq"]} == measures._MEASURES.keys()
