"""A built-in corpus whose best possible perplexity is known exactly.

The text is a stream of independent sentences from the probabilistic grammar below. A subject
agrees with verbs, reflexives, possessives and pronouns that come after relative clauses and
prepositional phrases of any depth and of the other number or gender, so a model must carry the
subject past them: "the queens that my old wolf fears trust themselves".

Every sentence has exactly one derivation, so the entropy of sentences is that of derivations,
which linear systems give exactly. The reason: with the classes in [...] erased, the rules are
LL(1), that is, the next word alone decides the next rule; and a class is chosen only together
with a noun or a name, and each of these belongs to one class. No model predicts the text better
than `exp(entropy_per_token(english_grammar()))`, except by luck on a finite sample.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from awd_jax.data.grammar import (
    Grammar,
    Rule,
    entropy_per_token,
    sample_sentences,
    tokens_per_sentence,
)
from awd_jax.data.streams import stream

# Agreement: a subject's class is named by its pronoun, with the probability of choosing it.
SUBJECTS = {"he": 0.3, "she": 0.3, "it": 0.15, "they": 0.25}
_PLACES = {"place": 0.7, "places": 0.3}
_PLURAL = ("they", "places")

# The rules. `-` is the empty string; a word in lower case stands for itself.
# [a], which is on the left too: there is one such rule for every subject class.
# [b] and [c], which are on the right only: the rule chooses a subject class or a place class. All
# [b] in one right side are the same class, and that is the agreement.
_RULES = """
S         = 1.00 NP[b] VP[b] Tail[b]
Tail[a]   = 0.70 -                | 0.15 and VP[a]    | 0.15 Conj Clause[a]
Clause[a] = 0.60 Pron[a] VP[a]    | 0.40 NP[b] VP[b]
VP[a]     = 0.30 Vi[a] Manner     | 0.55 Vt[a] Obj[a] | 0.15 Vsay[a] that NP[b] VP[b]
Obj[a]    = 0.60 NP[b]            | 0.20 Refl[a]      | 0.20 Poss[a] Trait Noun[b] Post[b]
NP[a]     = 0.20 Bare[a]          | 0.80 Det[a] Trait Noun[a] Post[a]
Post[a]   = 0.66 -                | 0.18 that Rel[a]  | 0.10 In Place | 0.06 Near NP[b]
Rel[a]    = 0.60 NP[b] Vt[b]      | 0.15 Vi[a]        | 0.25 Vt[a] Obj[a]
Place     = 1.00 Det[c] Noun[c] Known
Known     = 0.90 -                | 0.10 that NP[b] Vt[b]
Trait     = 0.75 -                | 0.25 Adj
Manner    = 0.65 -                | 0.35 Adv
"""

# The lexicon, most frequent word first: the k-th word of a list has probability ~ 1/k.
_WORDS = {
    "Noun[he]": "king boy father prince brother wizard uncle monk duke son",
    "Noun[she]": "queen girl mother princess sister witch aunt nun duchess daughter",
    "Noun[it]": "dog cat horse wolf dragon fox mouse goat owl rabbit",
    "Noun[they]": "kings girls dogs boys queens cats brothers sisters wolves mothers mice",
    "Noun[place]": "village castle garden forest valley church market tower abbey palace",
    "Noun[places]": "villages castles gardens forests valleys churches towers",
    "Bare[he]": "john peter thomas henry arthur",
    "Bare[she]": "mary alice anna clara helen",
    "Bare[it]": "something nothing everything",
    "Bare[they]": "people children strangers soldiers",
    "Adj": "old young clever gentle proud hungry brave lonely lazy wise",
    "Adv": "often again quietly alone today gladly",
    "In": "in from outside",
    "Near": "near behind beside opposite",
    "Conj": "because when while although until",
}
_PRONOUNS = {  # one for each subject class, in their order
    "Pron": "he she it they",
    "Refl": "himself herself itself themselves",
    "Poss": "his her its their",
}
_VERBS = {  # the plural form
    "Vi": "sleep laugh dance wait sing smile cry dream work listen rest weep",
    "Vt": "see love know fear help admire watch trust hate praise blame forgive protect pity",
    "Vsay": "say think believe hope claim pretend",
}
_DETERMINERS = {"singular": "the this my every our", "plural": "the these my some many our two"}


class SyntheticCorpus(NamedTuple):
    """Three texts, one sentence per line, and their source's entropy in nats per token.

    Every sentence's <eos> counts as a token, so `exp(entropy)` is the best perplexity possible.
    """

    train: str
    valid: str
    test: str
    entropy: float


def _third_person(verb: str) -> str:
    """The singular form of a verb: sleeps, watches, cries."""
    return re.sub("ch$", "che", re.sub("(?<![aeiou])y$", "ie", verb)) + "s"


def _lexicon() -> dict[str, list[str]]:
    """The words of each lexical category and class, most frequent first."""
    words = {category: text.split() for category, text in _WORDS.items()}
    for category, text in _PRONOUNS.items():
        for kind, pronoun in zip(SUBJECTS, text.split(), strict=True):
            words[f"{category}[{kind}]"] = [pronoun]
    for category, text in _VERBS.items():
        singular, plural = [_third_person(verb) for verb in text.split()], text.split()
        for kind in SUBJECTS:
            words[f"{category}[{kind}]"] = plural if kind in _PLURAL else singular
    for kind in (*SUBJECTS, *_PLACES):
        words[f"Det[{kind}]"] = _DETERMINERS["plural" if kind in _PLURAL else "singular"].split()
    return words


def _instances(text: str, variable: str, classes: dict[str, float]) -> list[tuple[str, float]]:
    """The text once for each class that its variable may take, with that class's probability."""
    if f"[{variable}]" not in text:
        return [(text, 1.0)]
    return [(text.replace(f"[{variable}]", f"[{kind}]"), prob) for kind, prob in classes.items()]


def english_grammar() -> Grammar:
    """The grammar of the corpus: the tables above, with the classes filled in."""
    grammar: Grammar = {}
    for category, words in _lexicon().items():
        # Not `sum`, which rounds differently from Python 3.12 on and would move the thresholds.
        total = math.fsum(1 / k for k in range(1, len(words) + 1))
        grammar[category] = tuple(Rule(1 / k / total, (w,)) for k, w in enumerate(words, start=1))
    for line in _RULES.strip().splitlines():
        for instance, _ in _instances(line, "a", SUBJECTS):
            left, rights = instance.split("=")
            grammar[left.strip()] = tuple(
                Rule(float(body.split()[0]) * prob_b * prob_c, tuple(body.split()[1:]))
                for right in rights.replace("-", "").split("|")
                for right_b, prob_b in _instances(right, "b", SUBJECTS)
                for body, prob_c in _instances(right_b, "c", _PLACES)
            )
    return grammar


def _sample_text(grammar: Grammar, num_tokens: int, random: np.random.RandomState) -> str:
    """About `num_tokens` tokens of text, one sentence per line.

    The number of sentences is fixed: stopping at a token would favour long last sentences.
    """
    sentences = sample_sentences(grammar, round(num_tokens / tokens_per_sentence(grammar)), random)
    return "".join(" ".join(sentence.words) + "\n" for sentence in sentences)


def generate_corpus(seed: int) -> SyntheticCorpus:
    """The corpus of a seed: about 200,000 tokens of train, 20,000 each of valid and test.

    The splits are independent streams of the same source.

    Raises:
      InputError: the seed is negative.
    """
    grammar = english_grammar()
    train, valid, test = (stream(seed, split) for split in range(3))
    return SyntheticCorpus(
        train=_sample_text(grammar, 200_000, train),
        valid=_sample_text(grammar, 20_000, valid),
        test=_sample_text(grammar, 20_000, test),
        entropy=entropy_per_token(grammar),
    )
