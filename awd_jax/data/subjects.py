"""Documents that are generated: subjects of the synthetic corpus, each with its pronoun as label.

A document is a noun phrase of the grammar, with clauses and phrases in it: "the queens that my old
wolf fears". Its label is the pronoun of its first noun: he, she, it or they. A reader must carry it
past the others, and know which nouns are of one class, as a model of the language does.
"""

import numpy as np

from awd_jax.data.grammar import Rule, sample_sentences
from awd_jax.data.streams import stream
from awd_jax.data.synthetic import SUBJECTS, english_grammar

SIZES = (2_000, 500, 2_000)  # train, valid, test
FEWEST_WORDS = 5  # so that there is more than the noun


def draw_subjects(seed: int) -> list[list[tuple[str, str]]]:
    """Returns the labels and texts of train, valid and test, in an order at random.

    No text is in two of them, or twice in one.
    """
    grammar = english_grammar()
    random = stream(seed, len(SIZES))
    kinds, probs = zip(*SUBJECTS.items(), strict=True)  # as often as in the corpus
    wanted = random.choice(len(kinds), size=sum(SIZES), p=probs)
    texts = {}
    for index, kind in enumerate(kinds):
        phrases = grammar | {"S": (Rule(1.0, (f"NP[{kind}]",)),)}
        num = int((wanted == index).sum())
        drawn = sample_sentences(phrases, 40 * num, stream(seed, index))
        long = (" ".join(s.words) for s in drawn if len(s.words) >= FEWEST_WORDS)
        texts[index] = list(dict.fromkeys(long))[:num]
        assert len(texts[index]) == num
    documents = [(kinds[index], texts[index].pop()) for index in wanted.tolist()]
    ends = np.cumsum(SIZES)
    return [documents[end - size : end] for size, end in zip(SIZES, ends.tolist(), strict=True)]
