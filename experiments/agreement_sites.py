"""Sentences of the built-in corpus, and where in them a word agrees with a subject before it.

A site knows the forms that would not agree there. Its depth says how far phrases nest between the
latest mention of the subject and it: 0 in "the king sleeps", 1 in "the king near the dogs sleeps"
and in "the king that loves the dogs sleeps", 2 if one of the dogs has a phrase of its own.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from awd_jax.data.grammar import Grammar, Rule, make_derive

# Categories of words that agree, and of those that mention a subject.
AGREEING = {
    **dict.fromkeys(("Vi", "Vt", "Vsay"), "verb"),
    **{"Refl": "reflexive", "Poss": "possessive", "Pron": "pronoun"},
}
MENTIONS = ("Noun", "Bare", "Pron")


class Site(NamedTuple):
    """A word that agrees with a subject before it."""

    kind: str  # verb, reflexive, possessive or pronoun
    position: int  # in its sentence
    depth: int  # of the phrases between the subject and it
    others: tuple[str, ...]  # what would stand here, were the subject of another class


class Sentence(NamedTuple):
    """A sentence without its `<eos>`, its log-probability in nats, and its sites."""

    words: tuple[str, ...]
    log_prob: float
    sites: tuple[Site, ...]


class Phrase:
    """What a subject and all that agrees with it share."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.position = -1  # of the latest mention


def sample_sentences(grammar: Grammar, num: int, seed: list[int]) -> list[Sentence]:
    """Draws independent sentences."""
    derive = make_derive(grammar, np.random.default_rng(seed).random)
    return [follow(grammar, derive()) for _ in range(num)]


def follow(grammar: Grammar, derivation: Iterator[tuple[str, Rule | None]]) -> Sentence:
    """The sentence of a derivation, whose subjects it follows."""
    words, sites, log_prob = [], [], 0.0
    mentions: list[tuple[int, int]] = []  # position and depth of each
    phrases = [Phrase(0)]  # of the symbols that are to come, from right to left
    for symbol, rule in derivation:
        phrase = phrases.pop()
        if rule is None:
            words.append(symbol)
            continue
        log_prob += math.log(rule.prob)
        category = symbol.partition("[")[0]
        if category in AGREEING:
            between = [depth for position, depth in mentions if position > phrase.position]
            depth = max(between, default=phrase.depth) - phrase.depth
            others = other_forms(grammar, symbol, grammar[symbol].index(rule))
            sites.append(Site(AGREEING[category], len(words), depth, others))
        if category in MENTIONS:
            phrase.position = len(words)
            mentions.append((phrase.position, phrase.depth))
        right = []
        for part in rule.symbols:
            if begins_phrase(category, part.partition("[")[0]):
                phrase = Phrase(phrase.depth + 1)
            right.append(phrase)
        phrases.extend(reversed(right))
    return Sentence(tuple(words), log_prob, tuple(sites))


def begins_phrase(left: str, part: str) -> bool:
    """Whether this part of a rule's right side, with those after it, is of another subject."""
    return part == "NP" or (left, part) in {("Obj", "Noun"), ("Place", "Det")}


def other_forms(grammar: Grammar, symbol: str, index: int) -> tuple[str, ...]:
    """The word of the same meaning in all other classes, where it is another one."""
    category = symbol.partition("[")[0]
    forms = {s: grammar[s][index].symbols[0] for s in grammar if s.startswith(f"{category}[")}
    return tuple(sorted(set(forms.values()) - {forms[symbol]}))
