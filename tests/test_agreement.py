"""experiments/agreement_sites.py, agreement.py: where words agree, and what a model says there."""

import pytest

from awd_jax.data import grammar as grammars
from awd_jax.data.grammar import Rule, make_derive
from awd_jax.data.streams import stream
from awd_jax.data.synthetic import english_grammar
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.tasks.model_file import BestModel
from experiments.agreement import BATCH, lay_out
from experiments.agreement_sites import follow, sample_sentences


def test_sentences_are_those_of_the_corpus():
    """Given the same numbers: the subjects are followed, and change nothing."""
    grammar = english_grammar()
    derive = make_derive(grammar, stream(3, 1).random_sample)
    for sentence in grammars.sample_sentences(grammar, 300, stream(3, 1)):
        ours = follow(grammar, derive())
        assert (ours.words, ours.log_prob) == sentence


def one_way(**rules):
    """A grammar with one sentence."""
    names = {name.replace("_", "[") + "]" * ("_" in name): text for name, text in rules.items()}
    return {name: (Rule(1.0, tuple(text.split())),) for name, text in names.items()}


KING = {"S": "NP[he] VP[he]", "NP_he": "Noun[he] Post[he]", "Noun_he": "king", "VP_he": "Vi[he]"}
KING |= {"Vi_he": "sleeps", "Vi_they": "sleep", "Noun_they": "dogs", "Vt_they": "hate"}


@pytest.mark.parametrize(
    ("rules", "words", "sites"),
    [
        ({"Post_he": ""}, "king sleeps", [(1, 0)]),
        ({"Post_he": "near NP[they]", "NP_they": "Noun[they]"}, "king near dogs sleeps", [(3, 1)]),
        (
            {"Post_he": "that Rel[he]", "Rel_he": "NP[they] Vt[they]", "NP_they": "Noun[they]"},
            "king that dogs hate sleeps",
            [(3, 0), (4, 1)],
        ),
        (
            {
                "Post_he": "near NP[they]",
                "NP_they": "Noun[they] in Place",
                **{"Place": "Det[place] Noun[place]", "Det_place": "the", "Noun_place": "tower"},
            },
            "king near dogs in the tower sleeps",
            [(6, 2)],
        ),
    ],
)
def test_depths(rules, words, sites):
    (sentence,) = sample_sentences(one_way(**KING, **rules), 1, [0])
    assert " ".join(sentence.words) == words
    assert [(site.position, site.depth) for site in sentence.sites] == sites


def test_other_forms():
    forms = {}
    for sentence in sample_sentences(english_grammar(), 500, [0]):
        for site in sentence.sites:
            forms.setdefault(sentence.words[site.position], set()).add(site.others)
    assert forms["sleeps"] == {("sleep",)}
    assert forms["sleep"] == {("sleeps",)}
    assert forms["himself"] == {("herself", "itself", "themselves")}
    assert forms["their"] == {("her", "his", "its")}


def test_sites_are_where_their_words_are():
    sentences = sample_sentences(english_grammar(), 3 * BATCH, [0])
    grammar = english_grammar()
    symbols = {symbol for rules in grammar.values() for rule in rules for symbol in rule.symbols}
    tokens = ("<eos>", *sorted(symbols - set(grammar)))
    best = BestModel(None, None, Vocabulary(tokens), "word", 0)
    text = lay_out(sentences, best)
    targets = text.targets.ravel()
    found = [tokens[targets[at]] for _, _, at, _ in text.sites]
    assert found == [s.words[site.position] for s in sentences for site in s.sites]
    assert (targets >= 0).sum() == sum(len(s.words) + 1 for s in sentences)
