"""Probabilistic context-free grammars: their exact entropy, and derivations drawn from them."""

import math
from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np


class Rule(NamedTuple):
    """One way to rewrite a nonterminal: its probability and the symbols put in its place."""

    prob: float
    symbols: tuple[str, ...]


Grammar = dict[str, tuple[Rule, ...]]  # by nonterminal, from "S"; every other symbol is a word


class Sentence(NamedTuple):
    """The words of a sentence, without <eos>, and the log-probability (nats) of its derivation."""

    words: tuple[str, ...]
    log_prob: float


def _expected_total(grammar: Grammar, reward: Callable[[Rule], float]) -> float:
    """The expected sum of a reward over the rules of one derivation.

    h_A = sum_r p_r (reward(r) + sum of h over the nonterminals of r), that is (I - M) h = b with
    M[A, B] the expected number of B in one rewriting of A.
    """
    index = {symbol: i for i, symbol in enumerate(grammar)}
    children, rewards = np.zeros((len(index), len(index))), np.zeros(len(index))
    for symbol, rules in grammar.items():
        probs = [rule.prob for rule in rules]
        if min(probs) <= 0 or abs(math.fsum(probs) - 1) > 1e-9:
            raise ValueError(f"{symbol}: the rules' probabilities must be positive and sum to 1")
        for rule in rules:
            rewards[index[symbol]] += rule.prob * reward(rule)
            for child in rule.symbols:
                if child in index:
                    children[index[symbol], index[child]] += rule.prob
    radius = float(np.abs(np.linalg.eigvals(children)).max())
    if radius >= 1 - 1e-9:
        raise ValueError(
            f"spectral radius {radius:.3f}: must be below 1, or the expected length is infinite; "
            "lower the probabilities of the recursive rules"
        )
    return float(np.linalg.solve(np.eye(len(index)) - children, rewards)[index["S"]])


def sentence_entropy(grammar: Grammar) -> float:
    """The entropy of one sentence in nats: E[sum over the derivation's rules of -log p_r].

    Exact for a grammar in which no sentence has two derivations; an upper bound otherwise.

    Raises:
        ValueError: probabilities that do not sum to 1, or a recursion that is not subcritical.
    """
    return _expected_total(grammar, lambda rule: -math.log(rule.prob))


def tokens_per_sentence(grammar: Grammar) -> float:
    """The expected number of tokens of one sentence, its <eos> included. Raises as above."""
    return 1 + _expected_total(grammar, lambda rule: sum(s not in grammar for s in rule.symbols))


def entropy_per_token(grammar: Grammar) -> float:
    """The source's entropy rate in nats per token, <eos> included: H(sentence) / E[tokens].

    Sentences are independent draws, so this is the limit of a text's -log p per token.
    """
    return sentence_entropy(grammar) / tokens_per_sentence(grammar)


def make_derive(
    grammar: Grammar, uniform: Callable[[], float]
) -> Callable[[], Iterator[tuple[str, Rule | None]]]:
    """Returns a function that draws a derivation of "S".

    It yields each symbol, from left to right, with the rule that rewrites it; None for a word.

    Args:
      grammar: the rules.
      uniform: draws a number from [0, 1), one for each rule.
    """
    # The last rule's bound is left out: it is 1 up to rounding, and no draw may fall beyond it.
    bounds = {s: [*accumulate(rule.prob for rule in grammar[s][:-1])] for s in grammar}

    def derive() -> Iterator[tuple[str, Rule | None]]:
        stack = ["S"]  # no recursion: the depth of a derivation is unbounded
        while stack:
            symbol = stack.pop()
            rule = None
            if symbol in bounds:
                rule = grammar[symbol][bisect(bounds[symbol], uniform())]
                stack.extend(reversed(rule.symbols))
            yield symbol, rule

    return derive


def sample_sentences(
    grammar: Grammar, num_sentences: int, random: np.random.RandomState
) -> list[Sentence]:
    """Draws independent sentences, each with the log-probability of its derivation in nats."""
    derive = make_derive(grammar, random.random_sample)
    sentences = []
    for _ in range(num_sentences):
        words, log_prob = [], 0.0
        for symbol, rule in derive():
            if rule is None:
                words.append(symbol)
            else:
                log_prob += math.log(rule.prob)
        sentences.append(Sentence(tuple(words), log_prob))
    return sentences
