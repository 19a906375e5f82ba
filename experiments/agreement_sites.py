"""Sentences of the built-in corpus, and where in them a word agrees with a subject before it.

A site knows the forms that would not agree there. Its depth says how far phrases nest between the
latest mention of the subject and it: 0 in "the king sleeps", 1 in "the king near the dogs sleeps"
and in "the king that loves the dogs sleeps", 2 if one of the dogs has a phrase of its own.
"""

import math
from bisect import bisect
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from awd_jax.data.synthetic import Grammar

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
    random = np.random.default_rng(seed)
    return [sample(grammar, random) for _ in range(num)]


def sample(grammar: Grammar, random: np.random.Generator) -> Sentence:
    """Draws a sentence, as `awd_jax.data.synthetic` does, and follows its subjects."""
    words, sites, log_prob = [], [], 0.0
    mentions: list[tuple[int, int]] = []  # position and depth of each
    stack = [("S", Phrase(0))]
    while stack:
        symbol, phrase = stack.pop()
        if symbol not in grammar:
            words.append(symbol)
            continue
        *bounds, _ = accumulate(rule.prob for rule in grammar[symbol])
        index = bisect(bounds, random.random())
        log_prob += math.log(grammar[symbol][index].prob)
        category = symbol.partition("[")[0]
        if category in AGREEING:
            between = [depth for position, depth in mentions if position > phrase.position]
            depth = max(between, default=phrase.depth) - phrase.depth
            others = other_forms(grammar, symbol, index)
            sites.append(Site(AGREEING[category], len(words), depth, others))
        if category in MENTIONS:
            phrase.position = len(words)
            mentions.append((phrase.position, phrase.depth))
        right = []
        for part in grammar[symbol][index].symbols:
            if begins_phrase(category, part.partition("[")[0]):
                phrase = Phrase(phrase.depth + 1)
            right.append((part, phrase))
        stack.extend(reversed(right))
    return Sentence(tuple(words), log_prob, tuple(sites))


def begins_phrase(left: str, part: str) -> bool:
    """Whether this part of a rule's right side, with those after it, is of another subject."""
    return part == "NP" or (left, part) in {("Obj", "Noun"), ("Place", "Det")}


def other_forms(grammar: Grammar, symbol: str, index: int) -> tuple[str, ...]:
    """The word of the same meaning in all other classes, where it is another one."""
    category = symbol.partition("[")[0]
    forms = {s: grammar[s][index].symbols[0] for s in grammar if s.startswith(f"{category}[")}
    return tuple(sorted(set(forms.values()) - {forms[symbol]}))
