"""Labels each line of a file or of standard input with a trained classifier."""

import collections
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.batches import LabelCounts, Labelled
from awd_jax.data.labels import Reading
from awd_jax.data.text import Text, text_lines, without_ends
from awd_jax.data.vocabulary import EOS, UNK
from awd_jax.data.windows import bucket
from awd_jax.errors import InputError
from awd_jax.files import local_path
from awd_jax.models.contract import Classifier
from awd_jax.tasks.input_file import open_input
from awd_jax.tasks.lines import Line, blocks, encode_line, similar_lengths
from awd_jax.tasks.model_file import BestModel, load_best_model, load_own_model
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.table import Table, with_bar

COLUMNS = ("line", "label", "probability")


class _Labeller(NamedTuple):
    """A classifier, how it reads, and its program."""

    best: BestModel
    reading: Reading
    log_probs: Callable[..., Float[jax.Array, "B K"]]


def predict(config: ConfigDict, workdir: Path) -> None:
    """Labels each line of the input; writes label and probability of each, and predict.json.

    With `predict.also`, the probabilities are the means of those of the two classifiers, such as
    one that reads forward and one that reads backward.

    Raises:
      InputError: before anything is written: there is no such model, the two have other labels, or
        the input cannot be read or has a blank line.
    """
    options = config.predict
    labellers = [_labeller(load_best_model(config, workdir, Classifier))]
    if options.also:
        other = load_own_model(local_path("config.predict.also", options.also), Classifier)
        labellers.append(_labeller(other))
    labels = labellers[0].best.labels
    if any(labeller.best.labels != labels for labeller in labellers):
        raise InputError(
            f"config.predict.also = {options.also}",
            "has other labels than the workdir",
            "give a classifier of the same data",
        )
    with open_input("config.predict.input", options.input, config.data.level) as text:
        num_lines = num_unk = 0
        for line in _read(text, labellers[0]):
            num_lines += 1
            num_unk += line.num_unk
        for labeller in labellers[1:]:
            collections.deque(_read(text, labeller), maxlen=0)  # for what it refuses
        path = local_path("config.predict.output", options.output) if options.output else None
        started = time.perf_counter()
        with output.open_output(path) as out:
            columns = COLUMNS + ("probabilities",) * (options.format == "jsonl")
            table = Table(out, options.format, columns)
            found = _probabilities(text, labellers, options.batch_size)
            for number, probs in enumerate(with_bar(found, num_lines, "line", options.output), 1):
                chosen = int(probs.argmax())
                row = [number, labels[chosen], float(probs[chosen])]
                every = dict(zip(labels, map(float, probs), strict=True))
                table.write(row + [every] * (options.format == "jsonl"))
        seconds = time.perf_counter() - started
    result = {
        **options.to_dict(),
        "step": labellers[0].best.step,
        "num_lines": num_lines,
        "num_unk": num_unk,
        "seconds": seconds,
        "lines_per_second": num_lines / seconds,
    }
    leave_json(workdir, "predict", result)
    if num_unk:
        output.note(f"tokens outside the vocabulary, read as {UNK}: {num_unk:,}")
    output.note(f"{num_lines:,} lines | {result['lines_per_second']:,.1f} lines per second")


def _labeller(best: BestModel) -> _Labeller:
    level, backward, length = (
        best.fields[f"data.{n}"] for n in ("level", "backward", "max_length")
    )
    return _Labeller(best, Reading(level, backward, length), jax.jit(best.model.log_probs))


def _read(text: Text, labeller: _Labeller) -> Iterator[Line]:
    """Yields the lines of a text as documents.

    Raises:
      InputError: a line is blank, or has a token outside a vocabulary without `<unk>`.
    """
    own = text._replace(level=labeller.reading.level)  # that of another classifier may differ
    for number, tokens in enumerate(text_lines(without_ends(own)), 1):
        place = f"{text.name}, line {number}"
        if not tokens:
            raise InputError(place, "is blank", "give one text a line")
        line = encode_line(place, [EOS, *tokens], labeller.best.vocabulary)
        yield line._replace(ids=labeller.reading.order(line.ids))


def _probabilities(
    text: Text, labellers: list[_Labeller], batch_size: int
) -> Iterator[Float[np.ndarray, "K"]]:
    for rows in zip(*(_of_one(text, labeller, batch_size) for labeller in labellers), strict=True):
        yield np.mean(rows, axis=0)


def _of_one(text: Text, labeller: _Labeller, batch_size: int) -> Iterator[Float[np.ndarray, "K"]]:
    for block in blocks(_read(text, labeller)):
        found: list[np.ndarray] = [np.empty(0)] * len(block)
        width, groups = similar_lengths(block, batch_size)
        for group in groups:
            batch = _batch([block[index].ids for index in group], width)
            log_probs = np.asarray(labeller.log_probs(labeller.best.params, batch), np.float64)
            for index, row in zip(group, log_probs, strict=False):
                found[index] = np.exp(row)
        yield from found


def _batch(texts: list[Int32[np.ndarray, "_"]], width: int) -> Labelled:
    shape = (bucket(max(map(len, texts))), width)
    inputs, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for column, ids in enumerate(texts):
        inputs[: len(ids), column] = ids
        weights[: len(ids), column] = 1
    nothing = np.zeros((1, width), np.int32)
    counts = LabelCounts(weights.sum(), weights[1:].sum(), weights[0].sum())
    return Labelled(inputs, weights, nothing, weights[:1], counts)
