"""The corpus of a config, and its splits as parallel streams."""

import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32
from ml_collections import ConfigDict

from awd_jax.data.corpus import Corpus, load_corpus
from awd_jax.data.windows import batchify


class Streams(NamedTuple):
    """The splits, each cut into the streams of its batch."""

    train: Int32[np.ndarray, "rows B"]
    valid: Int32[np.ndarray, "rows B"]
    test: Int32[np.ndarray, "rows B"]


def read_corpus(config: ConfigDict) -> Corpus:
    """The corpus of the config's group `data`.

    Raises:
      InputError: it cannot be found or read.
    """
    # The seed of the made corpus is not that of training: runs that differ in it share their data.
    corpus = load_corpus(config.corpus, config.dir, config.level, config.vocabulary, seed=0)
    stop = config.max_tokens or None
    return corpus._replace(
        train=corpus.train[:stop], valid=corpus.valid[:stop], test=corpus.test[:stop]
    )


def fingerprint(corpus: Corpus) -> dict[str, str]:
    """What a run depends on of its corpus: a checksum of each split."""
    splits = ((split, getattr(corpus, split)) for split in Streams._fields)
    return {
        f"corpus.{split}": f"{len(tokens)} tokens, crc32 {zlib.crc32(tokens):08x}"
        for split, tokens in splits
    }


def make_streams(config: ConfigDict, corpus: Corpus) -> Streams:
    """Batches as the config's group `train` has them.

    Raises:
      InputError: a split is shorter than a batch.
    """
    return Streams(
        train=batchify(corpus.train, config.batch_size, "config.train.batch_size ="),
        valid=batchify(corpus.valid, config.valid_batch_size, "config.train.valid_batch_size ="),
        test=batchify(corpus.test, config.test_batch_size, "config.train.test_batch_size ="),
    )
