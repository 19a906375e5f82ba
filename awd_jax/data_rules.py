"""The rules of the fields of the data of each model."""

from awd_jax.data import bits, corpus, labels, pairs
from awd_jax.data.text import LEVELS
from awd_jax.rules import COUNT, COUNT_OR_0, FLAG, PATH, SHARE, Rule, is_int, one_of

_TEXT_RULES = {
    "corpus": one_of(*corpus.NAMES),
    "dir": PATH,
    "level": one_of(*LEVELS),
    "vocabulary": one_of("train", "all"),
    "max_tokens": COUNT_OR_0,
    "backward": FLAG,
    "cache_dir": PATH,
}
_PAIR_RULES = {
    "corpus": one_of(*pairs.NAMES),
    "dir": PATH,
    "source_level": one_of(*LEVELS),
    "level": one_of(*LEVELS),
    "shared_vocabulary": FLAG,
    "max_length": COUNT_OR_0,
    "faults": one_of("refuse", "skip"),
    "source_length": COUNT_OR_0,
    "max_pairs": COUNT_OR_0,
    "num_buckets": Rule("must be a whole number in [1, 4]", lambda v: is_int(v) and 1 <= v <= 4),
}
_LABEL_RULES = {
    "corpus": one_of(*labels.NAMES),
    "dir": PATH,
    "level": one_of(*LEVELS),
    "backward": FLAG,
    "max_length": COUNT_OR_0,
    "valid_share": Rule("must lie between 0 and 1", lambda v: SHARE.holds(v) and v > 0),
    "max_examples": COUNT_OR_0,
    "balanced": FLAG,
    "num_buckets": _PAIR_RULES["num_buckets"],
}
_BIT_RULES = {
    "corpus": one_of(*bits.EXERCISES),
    "min_length": COUNT,
    "max_length": COUNT,
    "test_length": COUNT_OR_0,
    "max_repeats": COUNT_OR_0,
    "train_batches": COUNT,
    "eval_batches": COUNT,
}
# Of the data that a model reads, by its name.
DATA_RULES = {
    "recurrent": _TEXT_RULES,
    "transformer": _TEXT_RULES,
    "seq2seq": _PAIR_RULES,
    "classifier": _LABEL_RULES,
    "bits": _BIT_RULES,
}
