"""Language modelling: a corpus as parallel streams, cut into windows."""

import functools
import math
import zlib

import numpy as np
from jaxtyping import Int32
from ml_collections import ConfigDict

from awd_jax.data.corpus import Corpus, load_corpus
from awd_jax.data.windows import WindowPlan, batchify, bucket, even_plan, training_plan
from awd_jax.run.report import describe_nll
from awd_jax.train.problem import Problem, make_model

SPLITS = ("train", "valid", "test")
# Fewest tokens of a window in evaluation: every call repacks the weights, a fixed cost that a
# smaller window would not repay.
WINDOW_TOKENS = 1024


def read_corpus(config: ConfigDict) -> Corpus:
    """Reads the corpus of the config's group `data`.

    Raises:
      InputError: it cannot be found or read.
    """
    # The synthetic corpus has a fixed seed: runs with different seeds share their data.
    corpus = load_corpus(
        config.corpus,
        config.dir,
        config.level,
        config.vocabulary,
        seed=0,
        cache_dir=config.cache_dir,
    )
    stop = config.max_tokens or None
    splits = {split: getattr(corpus, split)[:stop] for split in SPLITS}
    if config.backward:
        splits = {split: ids[::-1].copy() for split, ids in splits.items()}
    return corpus._replace(**splits)


def language_problem(config: ConfigDict) -> Problem:
    """Returns the problem of a language model on the corpus of a config, which it reads.

    Raises:
      InputError: the corpus cannot be found or read, or a split is shorter than a batch.
    """
    return corpus_problem(config, read_corpus(config.data))


def corpus_problem(config: ConfigDict, corpus: Corpus) -> Problem:
    """Returns the problem of a language model on a corpus, batched as the group `train` says.

    Raises:
      InputError: a split is shorter than a batch.
    """
    options = config.train
    train = batchify(corpus.train, options.batch_size, "config.train.batch_size =")
    valid = batchify(corpus.valid, options.valid_batch_size, "config.train.valid_batch_size =")
    test = batchify(corpus.test, options.test_batch_size, "config.train.test_batch_size =")
    counts = ", ".join(f"{split} {len(getattr(corpus, split)):,}" for split in SPLITS)
    num_kinds = len(corpus.vocabulary)
    return Problem(
        model=make_model(config.model, num_kinds),
        train=functools.partial(_training_windows, options, train),
        valid=evaluation_windows(options, valid),
        test=evaluation_windows(options, test),
        vocabulary=corpus.vocabulary.tokens,
        fingerprint=fingerprint(corpus),
        notes=(f"{corpus.name}: {counts} tokens, {num_kinds:,} kinds", *corpus.notes),
        describe_nll=functools.partial(describe_nll, level=corpus.level),
        guessing_nll=math.log(num_kinds),
        source_nll=corpus.entropy,
    )


def fingerprint(corpus: Corpus) -> dict[str, str]:
    """Returns a checksum of each split, which identifies the data of a run."""
    splits = ((split, getattr(corpus, split)) for split in SPLITS)
    return {
        f"corpus.{split}": f"{len(tokens)} tokens, crc32 {zlib.crc32(tokens):08x}"
        for split, tokens in splits
    }


def _training_windows(
    options: ConfigDict, stream: Int32[np.ndarray, "rows B"], epoch: int
) -> WindowPlan:
    if options.random_windows:
        return training_plan(stream, options.bptt, options.seed, epoch)
    length = min(options.bptt, len(stream) - 1)
    return even_plan(stream, length, bucket(length), options.bptt)


def evaluation_windows(options: ConfigDict, stream: Int32[np.ndarray, "rows B"]) -> WindowPlan:
    """Returns the windows of an evaluation, in programs of one shape.

    Args:
      options: the config's group `train`, for its `bptt`.
      stream: what `batchify` returns.
    """
    num_steps = max(options.bptt, WINDOW_TOKENS // stream.shape[1])
    return even_plan(stream, bucket(min(num_steps, len(stream) - 1)))
