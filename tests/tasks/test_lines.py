"""Scores of lines against the definition: one line, one token after the other."""

import jax
import numpy as np
import pytest

from awd_jax.data.text import string_text
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.data.windows import batchify, even_plan
from awd_jax.errors import InputError
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.run.replicas import Replicas
from awd_jax.tasks import lines as lines_module
from awd_jax.tasks.lines import Scorer, read_lines
from awd_jax.tasks.model_file import BestModel
from awd_jax.train.evaluation import make_evaluate
from tests.tasks.saved_model import TOKENS

MODEL = RecurrentLM(len(TOKENS), 6, 8, 2, output_dropout_rate=0.5)
LENGTHS = [0, 3, 20, 1, 0, 7, 8, 9, 2, 41, 5]


@pytest.fixture(scope="module")
def best():
    params = jax.jit(MODEL.init_params)(jax.random.key(0))
    params = jax.tree.map(lambda p: 5 * p, params)  # far from uniform
    return BestModel(MODEL, params, Vocabulary(TOKENS), "word", 0)


@pytest.fixture
def lines(best):
    random = np.random.RandomState(0)
    text = "\n".join(" ".join(random.choice(TOKENS[1:], n)) for n in LENGTHS)
    return list(read_lines(string_text("a text", "word", text), best.vocabulary))


@pytest.fixture(params=[(64, 1 << 16), (4, 10)], ids=["at once", "in windows and blocks"])
def cut(request, monkeypatch):
    window, block = request.param
    monkeypatch.setattr(lines_module, "WINDOW", window)
    monkeypatch.setattr(lines_module, "BLOCK", block)


@jax.jit
def all_log_probs(params, inputs):
    return MODEL.log_probs(params, inputs[:, None], MODEL.initial_carry(1))[0][:, 0]


def by_definition(best, ids):
    """log p of each token after `<eos>` and all before it."""
    inputs = np.zeros(sum(LENGTHS) + len(LENGTHS), np.int32)  # one program
    inputs[: len(ids)] = [best.vocabulary.eos_id, *ids[:-1]]
    return np.asarray(all_log_probs(best.params, inputs))[np.arange(len(ids)), ids]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_line_by_itself_is_scored_as_the_first_of_a_text(best, lines, cut, batch_size):
    scored = list(Scorer(best).score_apart(iter(lines), batch_size))
    assert [s.line for s in scored] == lines
    for line, log_probs in scored:
        expected = by_definition(best, line.ids)
        np.testing.assert_allclose(log_probs, expected, rtol=1e-4, atol=1e-5)


def test_with_carry_the_lines_are_one_stream(best, lines, cut):
    scored = list(Scorer(best).score_in_order(iter(lines)))
    assert [s.line for s in scored] == lines
    expected = by_definition(best, np.concatenate([line.ids for line in lines]))
    found = np.concatenate([s.log_probs for s in scored])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert [len(s.log_probs) for s in scored] == [n + 1 for n in LENGTHS]


def test_with_carry_the_sum_is_what_evaluation_finds_after_an_eos(best, lines):
    scored = Scorer(best).score_in_order(iter(lines))
    total = sum(s.log_probs.sum(dtype=float) for s in scored)
    ids = np.concatenate([[best.vocabulary.eos_id], *(line.ids for line in lines)])
    evaluate = make_evaluate(MODEL, Replicas(jax.devices()[:1]))
    nll = evaluate(best.params, even_plan(batchify(ids.astype(np.int32), 1), 16))
    assert -total / (len(ids) - 1) == pytest.approx(nll, rel=1e-5)


def test_no_lines_give_no_scores(best):
    assert list(Scorer(best).score_apart(iter([]), 4)) == []
    assert list(Scorer(best).score_in_order(iter([]))) == []


def test_tokens_outside_are_unk_and_counted(best):
    (first, second) = read_lines(string_text("t", "word", "a x <unk> y\nb"), best.vocabulary)
    assert first.tokens == ["a", "x", "<unk>", "y", "<eos>"]
    assert first.ids.tolist() == [2, 1, 1, 1, 0]
    assert (first.num_unk, second.num_unk) == (2, 0)


def test_without_unk_a_token_outside_is_named_with_its_line():
    vocabulary = Vocabulary(("<eos>", "a"))
    with pytest.raises(InputError, match="t, line 3: token 'x': is not among the 2"):
        list(read_lines(string_text("t", "word", "a\n\na x\n"), vocabulary))
