"""Sequence to sequence: pairs of sources and targets, in batches of similar lengths."""

import functools
import math
import zlib

from ml_collections import ConfigDict

from awd_jax.data.buckets import choose_shapes, even_plan, training_plan
from awd_jax.data.pairs import SPLITS, PairCorpus, load_pairs
from awd_jax.run.report import describe_nll
from awd_jax.train.measures import check_measures, make_measure
from awd_jax.train.problem import Problem, make_model


def read_pairs(config: ConfigDict) -> PairCorpus:
    """Reads the pairs of the config's group `data`.

    Raises:
      InputError: they cannot be found or read, or have a fault.
    """
    corpus = load_pairs(
        config.corpus,
        config.dir,
        config.source_level,
        config.level,
        config.shared_vocabulary,
        config.max_length,
        config.faults,
        config.source_length,
        seed=0,  # as of the synthetic corpus: runs with different seeds share their data
    )
    if not config.max_pairs:
        return corpus
    cut = {split: getattr(corpus, split).first(config.max_pairs) for split in SPLITS}
    return corpus._replace(**cut)


def pairs_problem(config: ConfigDict) -> Problem:
    """Returns the problem of a model from sequence to sequence on the pairs of a config.

    Raises:
      InputError: the pairs cannot be found or read, or a package for a measure is missing.
    """
    options = config.train
    check_measures(options.measures)
    corpus = read_pairs(config.data)
    shapes = choose_shapes(corpus.train, (corpus.valid, corpus.test), config.data.num_buckets)
    source_size, size = len(corpus.source_vocabulary), len(corpus.vocabulary)
    model = make_model(config.model, size, source_vocab_size=source_size)
    eos_id = corpus.vocabulary.eos_id
    counts = ", ".join(f"{split} {len(getattr(corpus, split)):,}" for split in SPLITS)
    sizes = ", ".join(f"{s} to {t}" for s, t in shapes)
    return Problem(
        model=model,
        train=functools.partial(
            training_plan, corpus.train, shapes, options.batch_size, eos_id, options.seed
        ),
        valid=even_plan(corpus.valid, shapes, options.valid_batch_size, eos_id),
        test=even_plan(corpus.test, shapes, options.test_batch_size, eos_id),
        vocabulary=corpus.vocabulary.tokens,
        fingerprint=fingerprint(corpus),
        notes=(
            f"{corpus.name}: {counts} pairs, {source_size:,} and {size:,} kinds of tokens",
            f"batches of sources and targets of up to {sizes} tokens",
            *corpus.notes,
        ),
        describe_nll=functools.partial(describe_nll, level="word"),
        guessing_nll=math.log(size),
        source_nll=None,
        make_measure=functools.partial(
            make_measure,
            tuple(options.measures),
            corpus.vocabulary,
            config.data.level,
        )
        if options.measures
        else None,
        source_vocabulary=corpus.source_vocabulary.tokens,
    )


def fingerprint(corpus: PairCorpus) -> dict[str, str]:
    """Returns a checksum of each side of each split, which identifies the data of a run."""
    return {
        f"corpus.{split}.{side}": f"{len(rows)} lines, crc32 {zlib.crc32(rows.ids):08x}"
        f" {zlib.crc32(rows.ends):08x}"
        for split in SPLITS
        for side in ("sources", "targets")
        for rows in (getattr(getattr(corpus, split), side),)
    }
