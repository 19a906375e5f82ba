"""Classification: documents and their labels, in batches of similar lengths."""

import functools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax
from ml_collections import ConfigDict

from awd_jax.data.buckets import choose_shapes, even_plan, training_plan
from awd_jax.data.label_plan import LabelPlan
from awd_jax.data.labels import SPLITS, LabelCorpus, Reading, balance, load_labels
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.models.classifier import TextClassifier
from awd_jax.run.replicas import AXIS, Replicas
from awd_jax.train.evaluation import outputs
from awd_jax.train.problem import Problem, make_model


def read_labels(config: ConfigDict, vocabulary: Vocabulary | None = None) -> LabelCorpus:
    """Reads the documents of the config's group `data`.

    Raises:
      InputError: they cannot be found or read, or have a fault.
    """
    return load_labels(
        config.corpus,
        config.dir,
        Reading(config.level, config.backward, config.max_length),
        config.valid_share,
        config.max_examples,
        vocabulary,
        seed=0,  # as of the synthetic corpus: runs with different seeds share their data
    )


def labels_problem(config: ConfigDict, vocabulary: Vocabulary | None = None) -> Problem:
    """Returns the problem of a classifier on the documents of a config.

    Args:
      config: of the run.
      vocabulary: that of the model to start from; None for the tokens of train.

    Raises:
      InputError: the documents cannot be found or read, or have a fault.
    """
    options = config.train
    corpus = read_labels(config.data, vocabulary)
    num_classes = len(corpus.labels)
    shapes = choose_shapes(corpus.train, (corpus.valid, corpus.test), config.data.num_buckets)
    equal = np.ones(num_classes, np.float32)
    weights = balance(corpus.train, num_classes) if config.data.balanced else equal
    counts = ", ".join(f"{split} {len(getattr(corpus, split)):,}" for split in SPLITS)

    def train(epoch: int) -> LabelPlan:
        plan = training_plan(
            corpus.train, shapes, options.batch_size, num_classes, options.seed, epoch
        )
        return LabelPlan(plan, weights)

    valid, test = (
        LabelPlan(even_plan(split, shapes, batch_size, num_classes), equal)
        for split, batch_size in (
            (corpus.valid, options.valid_batch_size),
            (corpus.test, options.test_batch_size),
        )
    )
    model = make_model(
        config.model, len(corpus.vocabulary), num_classes=num_classes, axis_name=AXIS
    )
    return Problem(
        model=model,
        train=train,
        valid=valid,
        test=test,
        vocabulary=corpus.vocabulary.tokens,
        labels=corpus.labels,
        fingerprint=fingerprint(corpus),
        notes=(
            f"{corpus.name}: {counts} documents of {num_classes} classes, "
            f"{len(corpus.vocabulary):,} kinds of tokens",
            f"batches of up to {', '.join(str(length) for length, _ in shapes)} tokens",
            *corpus.notes,
        ),
        describe_nll=lambda nll: f"loss {nll:.4f}",
        guessing_nll=math.log(num_classes),
        source_nll=None,
        make_measure=functools.partial(make_measure, num_classes, tuple(options.measures)),
    )


def fingerprint(corpus: LabelCorpus) -> dict[str, str]:
    """Returns a checksum of each split, which identifies the data of a run."""
    return {
        f"corpus.{split}": f"{len(pairs)} documents, crc32 {zlib.crc32(pairs.sources.ids):08x}"
        f" {zlib.crc32(pairs.sources.ends):08x} {zlib.crc32(pairs.targets.ids):08x}"
        for split in SPLITS
        for pairs in (getattr(corpus, split),)
    }


def make_measure(
    num_classes: int,
    names: Sequence[str],
    model: TextClassifier,
    replicas: Replicas,
    between_batches: Callable[[], None],
) -> Callable[[optax.Params, LabelPlan], dict[str, Any]]:
    """Returns a function from (params, plan) to the measures of the most probable classes.

    `accuracy` is the share of documents that get their label, `f1` the mean over classes of the F1
    score, 0 for a class that neither is a label nor is given. `confusion` is always there: a row
    for each class, and in it how many of its documents got each class.
    """
    predict = replicas.pmap(
        lambda params, batch: model.log_probs(params, batch).argmax(axis=-1), (None, 0), 0, ()
    )

    def measure(params: optax.Params, plan: LabelPlan) -> dict[str, Any]:
        confusion = np.zeros((num_classes, num_classes), np.int64)
        labels = plan.plan.pairs.targets.ids
        batches = outputs(predict, replicas, params, plan, between_batches)
        for position, found in enumerate(batches):
            members = plan.plan.members(position)
            np.add.at(confusion, (labels[members], found[: len(members)]), 1)
        right = np.diag(confusion)
        sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
        values = {
            "accuracy": right.sum() / confusion.sum(),
            "f1": (2 * right / np.maximum(sizes, 1)).mean(),
        }
        return {name: float(values[name]) for name in names} | {"confusion": confusion.tolist()}

    return measure
