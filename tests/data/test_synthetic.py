"""The synthetic corpus: its English agrees, and its entropy is what it claims."""

import hashlib
import math
import re
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest

from awd_jax.data.grammar import (
    Rule,
    entropy_per_token,
    sample_sentences,
    sentence_entropy,
    tokens_per_sentence,
)
from awd_jax.data.streams import stream
from awd_jax.data.synthetic import english_grammar, generate_corpus
from awd_jax.errors import InputError

GRAMMAR = english_grammar()
WORDS = {symbol for rules in GRAMMAR.values() for rule in rules for symbol in rule.symbols}
WORDS -= set(GRAMMAR)


@pytest.fixture(scope="module")
def corpus():
    return generate_corpus(0)


# ---- the corpus ----


def test_the_seed_decides_everything(corpus):
    other = generate_corpus(1)
    assert generate_corpus(0) == corpus
    assert other.entropy == corpus.entropy == entropy_per_token(GRAMMAR)
    starts = {tuple(text.splitlines()[:50]) for text in (*corpus[:3], *other[:3])}
    assert len(starts) == 6
    with pytest.raises(InputError, match="seed -1: must not be negative"):
        generate_corpus(-1)


def test_the_stream_is_frozen(corpus):
    """A seed must give the same text in every version."""
    digest = hashlib.sha256("".join(corpus[:3]).encode()).hexdigest()
    assert digest[:16] == "dbc57646a4a4d640"


def test_sizes_and_form(corpus):
    texts = corpus[:3]
    sizes = [len(text.split()) + text.count("\n") for text in texts]
    np.testing.assert_allclose(sizes, [200_000, 20_000, 20_000], rtol=0.03)
    assert all(re.fullmatch(r"([a-z]+( [a-z]+)*\n)+", text) for text in texts)


def test_every_word_of_the_lexicon_is_in_train(corpus):
    assert 150 <= len(WORDS) <= 250
    assert set(corpus.train.split()) == WORDS


# ---- one derivation for each sentence ----


def derivations(grammar, words):
    """The number of derivations of a sentence, and the sum of their probabilities."""

    @cache
    def ends(symbols, start):
        """(number, probability) for each position where a derivation from `start` can end."""
        if not symbols:
            return {start: np.ones(2)}
        found = Counter()
        for middle, first in ends_of_one(symbols[0], start).items():
            for end, rest in ends(symbols[1:], middle).items():
                found[end] += first * rest
        return found

    @cache
    def ends_of_one(symbol, start):
        if symbol not in grammar:
            return {start + 1: np.ones(2)} if words[start : start + 1] == (symbol,) else {}
        found = Counter()
        for rule in grammar[symbol]:
            for end, rest in ends(rule.symbols, start).items():
                found[end] += rest * np.array([1.0, rule.prob])
        return found

    return ends_of_one("S", 0)[len(words)]


def test_every_sampled_sentence_has_one_derivation_with_the_stated_probability():
    for words, log_prob in sample_sentences(GRAMMAR, 300, stream(5)):
        count, prob = derivations(GRAMMAR, words)
        assert count == 1, " ".join(words)
        np.testing.assert_allclose(math.log(prob), log_prob, rtol=1e-12)


def erased(symbol):
    return symbol.split("[")[0]


def ll1_conflicts(grammar):
    """The (nonterminal, words) at which two rules are possible, with the classes erased."""
    rules = {erased(left): set() for left in grammar}
    for left, rights in grammar.items():
        rules[erased(left)] |= {tuple(erased(symbol) for symbol in r.symbols) for r in rights}
    empty = ""
    first = {symbol: set() for symbol in rules}
    follow = {symbol: set() for symbol in rules} | {"S": {"<eos>"}}

    def firsts(symbols):
        found = set()
        for symbol in symbols:
            new = first[symbol] if symbol in rules else {symbol}
            found |= new - {empty}
            if empty not in new:
                return found
        return found | {empty}

    def size():
        return sum(map(len, (*first.values(), *follow.values())))

    before = -1
    while before != (before := size()):
        for left, rights in rules.items():
            for right in rights:
                first[left] |= firsts(right)
                for i, symbol in enumerate(right):
                    if symbol in rules:
                        rest = firsts(right[i + 1 :])
                        follow[symbol] |= rest - {empty}
                        follow[symbol] |= follow[left] if empty in rest else set()
    conflicts = []
    for left, rights in rules.items():
        starts = [firsts(right) for right in rights]
        starts = [s - {empty} | follow[left] if empty in s else s for s in starts]
        twice = {word for word, count in Counter(w for s in starts for w in s).items() if count > 1}
        conflicts += [(left, twice)] if twice else []
    return conflicts


def test_the_grammar_has_one_derivation_for_each_sentence_by_proof():
    """With the classes erased it is LL(1), and each class has nouns and names of its own."""
    assert ll1_conflicts(GRAMMAR) == []
    for category in ("Noun", "Bare"):
        words = [
            r.symbols[0] for left in GRAMMAR if erased(left) == category for r in GRAMMAR[left]
        ]
        assert len(words) == len(set(words)) > 10
    assert all(len({r.symbols for r in rights}) == len(rights) for rights in GRAMMAR.values())
    # A class that a rule chooses, which its left side does not fix, is that of a noun phrase or
    # of a noun in the same rule.
    for left, rights in GRAMMAR.items():
        for rule in rights:
            classes = {s: s.split("[")[1] for s in rule.symbols if "[" in s}
            named = {classes[s] for s in classes if erased(s) in ("NP", "Noun", "Bare")}
            inherited = {left.split("[")[1]} if "[" in left else set()
            assert set(classes.values()) <= named | inherited, (left, rule)


def test_both_checks_see_an_ambiguity():
    """If a clause may end with a place, who is in the village, the king or the dog?"""
    grammar = GRAMMAR | {"Tail[he]": (*GRAMMAR["Tail[he]"], Rule(0.1, ("In", "Place")))}
    assert "Post" in [left for left, _ in ll1_conflicts(grammar)]
    ambiguous = "the king sees the dog in the village"
    assert derivations(grammar, tuple(ambiguous.split()))[0] == 2


# ---- the entropy ----


def test_entropy_is_what_the_text_has(corpus):
    """The mean of -log p(sentence) per token, with p derived from the text alone."""
    lines = [tuple(line.split()) for line in corpus.test.splitlines()[:500]]
    nll = np.array([-math.log(derivations(GRAMMAR, words)[1]) for words in lines])
    excess = nll - corpus.entropy * np.array([len(words) + 1 for words in lines])
    assert abs(excess.mean()) < 3 * excess.std() / math.sqrt(len(lines))


def test_entropy_and_length_by_monte_carlo():
    sentences = sample_sentences(GRAMMAR, 20_000, stream(6))
    for draws, exact in (
        ([-s.log_prob for s in sentences], sentence_entropy(GRAMMAR)),
        ([len(s.words) + 1 for s in sentences], tokens_per_sentence(GRAMMAR)),
    ):
        error = np.std(draws) / math.sqrt(len(draws))
        assert error < 0.01 * exact
        assert abs(np.mean(draws) - exact) < 3 * error


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_entropy_of_a_geometric_length(p):
    """S -> a S | b: the length is geometric, whose entropy is h(p) / (1 - p)."""
    grammar = {"S": (Rule(p, ("a", "S")), Rule(1 - p, ("b",)))}
    binary = -p * math.log(p) - (1 - p) * math.log(1 - p)
    np.testing.assert_allclose(sentence_entropy(grammar), binary / (1 - p), rtol=1e-12)
    np.testing.assert_allclose(tokens_per_sentence(grammar), 1 / (1 - p) + 1, rtol=1e-12)


def test_entropy_of_a_finite_language_by_enumeration():
    grammar = {
        "S": (Rule(0.7, ("A", "x", "A")), Rule(0.3, ("y",))),
        "A": (Rule(0.2, ("a",)), Rule(0.5, ("b", "b")), Rule(0.3, ())),
    }
    probs = [0.3] + [0.7 * p * q for p in (0.2, 0.5, 0.3) for q in (0.2, 0.5, 0.3)]
    np.testing.assert_allclose(sentence_entropy(grammar), -sum(p * math.log(p) for p in probs))
    np.testing.assert_allclose(tokens_per_sentence(grammar), 1 + 0.3 + 0.7 * (1 + 2 * 1.2))


@pytest.mark.parametrize("p", [0.5, 0.6])
def test_a_recursion_that_does_not_die_out_is_refused(p):
    grammar = {"S": (Rule(p, ("a", "S", "S")), Rule(1 - p, ("b",)))}
    for function in (sentence_entropy, tokens_per_sentence, entropy_per_token):
        with pytest.raises(ValueError, match=f"spectral radius {2 * p:.3f}: must be below 1"):
            function(grammar)


@pytest.mark.parametrize("probs", [(0.5, 0.4), (1.5, -0.5), (1.0, 0.0)])
def test_probabilities_that_are_none_are_refused(probs):
    with pytest.raises(ValueError, match=r"^S: the rules' probabilities"):
        sentence_entropy({"S": (Rule(probs[0], ("a",)), Rule(probs[1], ("b",)))})


def test_the_depth_of_a_derivation_has_no_limit():
    deep = {"S": (Rule(0.9998, ("S", "a")), Rule(0.0002, ("b",)))}
    sentences = sample_sentences(deep, 10, stream(0))
    assert max(len(sentence.words) for sentence in sentences) > 10 * sys.getrecursionlimit()


# ---- the agreement, read off the text ----

LISTS = {
    "male": "king boy father prince brother wizard uncle monk duke son john peter thomas henry "
    "arthur",
    "female": "queen girl mother princess sister witch aunt nun duchess daughter mary alice anna "
    "clara helen",
    "plural without -s": "wolves mice people children",
    "determiner": "the my our",
    "determiner of one": "this every",
    "determiner of many": "these some many two",
    "adjective": "old young clever gentle proud hungry brave lonely lazy wise",
    "adverb": "often again quietly alone today gladly",
    "preposition": "in from outside near behind beside opposite",
    "conjunction": "because when while although until",
    "alone": "sleep laugh dance wait sing smile cry dream work listen rest weep",
    "with object": "see love know fear help admire watch trust hate praise blame forgive protect "
    "pity",
    "with that": "say think believe hope claim pretend",
}
KINDS = {kind: set(words.split()) for kind, words in LISTS.items()}
IRREGULAR = {"cry": "cries", "pity": "pities", "watch": "watches"}
PLURAL_VERBS = {v: kind for kind in ("alone", "with object", "with that") for v in KINDS[kind]}
SINGULAR_OF = {v: IRREGULAR[v] if v in IRREGULAR else v + "s" for v in PLURAL_VERBS}
SINGULAR_VERBS = {SINGULAR_OF[v]: kind for v, kind in PLURAL_VERBS.items()}
OTHER_NUMBER = SINGULAR_OF | {singular: plural for plural, singular in SINGULAR_OF.items()}
FORMS = {  # subject, reflexive, possessive
    "he": ("he", "himself", "his"),
    "she": ("she", "herself", "her"),
    "it": ("it", "itself", "its"),
    "they": ("they", "themselves", "their"),
}
SUBJECTS, REFLEXIVES, POSSESSIVES = (set(forms) for forms in zip(*FORMS.values(), strict=True))


class Disagreement(Exception):
    """A word that is wrong where it stands."""


class Reader:
    """Reads a sentence from left to right, as a person does, and checks what must agree."""

    def __init__(self, line):
        self.words, self.gaps = [*line.split(), "<eos>"], []
        subject = self.clause()
        if self.accept({"and"}):
            self.predicate(subject)
        elif self.accept(KINDS["conjunction"]):
            if pronoun := self.accept(SUBJECTS):
                self.demand(pronoun == FORMS[subject][0])
                self.predicate(subject)
            else:
                self.clause()
        self.demand(self.words == ["<eos>"])

    def accept(self, words):
        return self.words.pop(0) if self.words[0] in words else None

    def demand(self, condition):
        if not condition:
            raise Disagreement(" ".join(self.words))

    def clause(self):
        before = len(self.words)
        subject = self.noun_phrase()
        self.gaps.append(before - len(self.words))
        self.predicate(subject)
        return subject

    def verb(self, subject):
        verbs = PLURAL_VERBS if subject == "they" else SINGULAR_VERBS
        word = self.accept(verbs)
        self.demand(word)
        return verbs[word]

    def predicate(self, subject):
        kind = self.verb(subject)
        if kind == "alone":
            self.accept(KINDS["adverb"])
        elif kind == "with object":
            self.object(subject)
        else:
            self.demand(self.accept({"that"}))
            self.clause()

    def object(self, subject):
        if reflexive := self.accept(REFLEXIVES):
            self.demand(reflexive == FORMS[subject][1])
        elif possessive := self.accept(POSSESSIVES):
            self.demand(possessive == FORMS[subject][2])
            self.noun()
        else:
            self.noun_phrase()

    def noun_phrase(self):
        """Reads one with all its modifiers; returns the pronoun that would replace it."""
        if self.accept(KINDS["determiner of one"]):
            pronoun = self.noun()
            self.demand(pronoun != "they")
        elif self.accept(KINDS["determiner of many"]):
            pronoun = self.noun()
            self.demand(pronoun == "they")
        else:
            self.accept(KINDS["determiner"])
            pronoun = self.noun()
        return pronoun

    def noun(self):
        self.accept(KINDS["adjective"])
        noun, pronoun = self.words.pop(0), "it"
        if noun in KINDS["male"]:
            pronoun = "he"
        elif noun in KINDS["female"]:
            pronoun = "she"
        elif noun in KINDS["plural without -s"] or noun.endswith("s"):
            pronoun = "they"
        if self.accept(KINDS["preposition"]):
            self.noun_phrase()
        elif self.accept({"that"}):
            if self.words[0] not in OTHER_NUMBER:
                self.demand(self.verb(self.noun_phrase()) == "with object")
            elif self.verb(pronoun) == "with object":
                self.object(pronoun)
        return pronoun


def test_agreement_holds_in_every_sentence_and_is_often_far(corpus):
    gaps = np.array(
        [gap for text in corpus[:3] for line in text.splitlines() for gap in Reader(line).gaps]
    )
    assert (gaps >= 5).mean() > 0.15  # words of the subject, whose noun is the third at the latest
    assert gaps.max() > 20


def wrong_forms(word):
    if word in OTHER_NUMBER:
        return [OTHER_NUMBER[word]]
    return [
        w for forms in (SUBJECTS, REFLEXIVES, POSSESSIVES) if word in forms for w in forms - {word}
    ]


def test_the_reader_sees_every_wrong_form(corpus):
    seen = Counter()
    for line in corpus.test.splitlines()[:500]:
        words = line.split()
        for i, word in enumerate(words):
            for wrong in wrong_forms(word):
                with pytest.raises(Disagreement):
                    Reader(" ".join([*words[:i], wrong, *words[i + 1 :]]))
                seen[word] += 1
    assert {"himself", "their", "she", "sleeps", "know"} <= set(seen)
