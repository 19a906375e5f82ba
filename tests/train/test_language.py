"""The windows of a language model, from the fields of a config."""

import numpy as np
import pytest

from awd_jax.data.corpus import Corpus
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from awd_jax.train.language import corpus_problem
from awd_jax.train.problem import make_model
from configs import default


def make_plan(bptt, num_tokens=161):
    config = default.get_config("smoke")
    config.train.random_windows, config.train.bptt = False, bptt
    tokens = np.arange(num_tokens, dtype=np.int32) % 5
    vocabulary = Vocabulary(("<eos>", *"abcd"))
    corpus = Corpus("made", "word", vocabulary, tokens, tokens, tokens, notes=(), entropy=None)
    return corpus_problem(config, corpus).train(1)


@pytest.mark.parametrize(("bptt", "lengths", "shape"), [(7, [7, 7, 5], 8), (70, [19], 24)])
def test_even_windows_have_few_shapes_and_rates_by_their_length(bptt, lengths, shape):
    plan = make_plan(bptt)
    assert [int(window.length) for window in plan] == lengths
    assert {window.inputs.shape for window in plan} == {(shape, 8)}
    assert [plan.rate_factor(i) for i in range(len(plan))] == [n / bptt for n in lengths]


def test_clusters_beyond_the_vocabulary_are_refused():
    config = default.get_config("smoke")
    config.model.softmax, config.model.cutoffs = "adaptive", (2, 5)
    with pytest.raises(InputError, match=r"cutoffs = \(2, 5\): must lie below the 5 kinds"):
        make_model(config.model, 5)
    make_model(config.model, 6)
