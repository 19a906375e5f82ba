"""The best model of a workdir: what every task after training starts from."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from awd_jax.data.corpus import Corpus
from awd_jax.data.vocabulary import Channels, Vocabulary
from awd_jax.errors import InputError
from awd_jax.models.contract import Classifier, LanguageModel, Model, Translator
from awd_jax.recipe import flatten
from awd_jax.run import processes
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.workdir import CHECKPOINTS, check_same, describe
from awd_jax.train import make_problem
from awd_jax.train.backend import check_backend
from awd_jax.train.labels import labels_problem
from awd_jax.train.language import read_corpus
from awd_jax.train.problem import Problem, make_model

# What a task may need, as an error says it.
_KINDS: dict[type[Any], str] = {
    Model: "a model",
    LanguageModel: "a language model",
    Translator: "a translator",
    Classifier: "a classifier",
}


class BestModel(NamedTuple):
    """The best model of a run: with the lowest validation loss, or the best measure."""

    model: Any  # a `Model`
    params: optax.Params  # averaged, if averaging had begun
    vocabulary: Vocabulary
    level: str  # what a token is: word, char or byte; "" of bits
    step: int  # windows trained on
    source_vocabulary: Vocabulary | None = None  # of a translator
    source_level: str | None = None
    source_length: int = 0  # to which sources are filled up with `<pad>`
    labels: tuple[str, ...] = ()  # of a classifier
    fields: Mapping[str, Any] = {}


def load_best_model(
    config: ConfigDict, workdir: Path, contract: type[Any] = LanguageModel
) -> BestModel:
    """Reads the best checkpoint of a workdir; needs neither corpus nor optimizer.

    The vocabulary comes from the checkpoint; the config's group `model` and its
    levels must match it.

    Args:
      config: of the run.
      workdir: of the run.
      contract: the protocol of models that the task needs.

    Raises:
      InputError: there is no finished epoch, it is damaged, it is of another model, or the model
        is of another kind than the task needs.
    """

    def check(fields: dict[str, Any]) -> ConfigDict:
        check_backend(config.model)
        ours = _of_model(describe(config, {}))
        check_same(f"workdir {workdir}", _of_model(fields), ours)
        return config.model

    return _load(workdir, contract, check)


def load_own_model(workdir: Path, contract: type[Any]) -> BestModel:
    """Reads the best checkpoint of a workdir, as the model that its run says it is.

    Raises:
      InputError: as `load_best_model`.
    """

    def own(fields: dict[str, Any]) -> ConfigDict:
        group = {n.removeprefix("model."): v for n, v in fields.items() if n.startswith("model.")}
        tuples = {n: tuple(v) if isinstance(v, list) else v for n, v in group.items()}
        # How a layer is unrolled is no part of what a run is; a model without cells has no choice.
        return ConfigDict(tuples | ({"backend": "auto"} if "cell" in tuples else {}))

    return _load(workdir, contract, own)


def _load(
    workdir: Path, contract: type[Any], model_of: Callable[[dict[str, Any]], ConfigDict]
) -> BestModel:
    """Reads the best checkpoint as the model of the config's group that `model_of` returns, given
    the fields of its run."""
    with Checkpoints(workdir / CHECKPOINTS) as checkpoints:
        best = checkpoints.best()
        fields, tokens, source_tokens, labels = best.identity
        with processes.together():
            group = model_of(fields)
        # Tasks compute in float32, the dtype of the parameters, whatever dtype training used.
        sizes: dict[str, Any] = {"dtype": None} if "dtype" in group else {}
        if source_tokens:
            sizes["source_vocab_size"] = len(source_tokens)
        if labels:
            sizes["num_classes"] = len(labels)
        model = make_model(group, len(tokens), **sizes)
        if not isinstance(model, contract):
            raise InputError(
                f"config.model.name = {group.name}",
                f"must be {_KINDS[contract]} for this task",
                "give another --task, or the config and --workdir of such a model",
            )
        shapes = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
        params = jax.tree.map(jnp.asarray, checkpoints.restore_best_params(shapes))
    names = Channels if group.name == "bits" else Vocabulary
    return BestModel(
        model=model.for_evaluation(),
        params=params,
        vocabulary=names(tokens),
        level=fields.get("data.level", ""),
        step=best.progress.step,
        source_vocabulary=names(source_tokens) if source_tokens else None,
        source_level=fields.get("data.source_level"),
        source_length=fields.get("data.source_length", 0),
        labels=labels,
        fields=fields,
    )


def read_splits(config: ConfigDict, best: BestModel) -> Corpus:
    """Reads the corpus of the config, for the best model to score.

    Raises:
      InputError: it cannot be read, or has another vocabulary than the model.
    """
    corpus = read_corpus(config.data)
    check_vocabulary(corpus.name, corpus.vocabulary.tokens, best)
    return corpus


def read_problem(config: ConfigDict, best: BestModel) -> Problem:
    """Reads the data of the config, for the best model to be evaluated on or trained further.

    Raises:
      InputError: they cannot be read, or have another vocabulary or other labels than the model.
    """
    if not best.labels:
        problem = make_problem(config)
        check_vocabulary(config.data.corpus, problem.vocabulary, best, problem.source_vocabulary)
        return problem
    problem = labels_problem(config, best.vocabulary)
    if problem.labels != best.labels:
        raise InputError(
            f"labels {', '.join(map(repr, problem.labels[:9]))}",
            f"must be the {len(best.labels)} of the model",
            "give the data that it was trained on, or --task=predict for any text",
        )
    return problem


def check_vocabulary(
    name: str, tokens: tuple[str, ...], best: BestModel, source_tokens: tuple[str, ...] = ()
) -> None:
    """Checks that a corpus has the vocabularies of a model.

    Raises:
      InputError: it has another one.
    """
    source = best.source_vocabulary
    sides = {"": (tokens, best.vocabulary.tokens)}
    if source is not None:
        sides = {"target ": sides[""], "source ": (source_tokens, source.tokens)}
    for side, (theirs, ours) in sides.items():
        if theirs != ours:
            task = "score" if source is None else "translate"
            raise InputError(
                f"corpus {name} with {len(theirs):,} kinds of {side}tokens",
                f"must have the vocabulary of the model, {len(ours):,} kinds",
                f"give the corpus that it was trained on, or --task={task} for any text",
            )


# Fields of the group `model`, besides rates, that another training may choose otherwise.
_OF_TRAINING = (
    *("backend", "dtype", "dropout_kind", "forget_gate_bias"),
    *("memory_length", "clamp_length", "same_length", "eval_memory_length", "eval_clamp_length"),
)


def check_structure(place: str, theirs: Mapping[str, Any], config: ConfigDict) -> None:
    """Checks the fields of a model whose parameters the config's model is to have.

    They include what the shapes of arrays do not show, and names for what they do.

    Args:
      place: where the model is from, for messages.
      theirs: its config by dotted names, or a part of it.
      config: of the run.

    Raises:
      InputError: a field differs.
    """
    ours = flatten(config)
    names = (n for n in config.model if not (n in _OF_TRAINING or n.endswith("_rate")))
    for name in ("data.level", "data.backward", *(f"model.{n}" for n in names)):
        if name in theirs and theirs[name] != json.loads(json.dumps(ours[name])):
            raise InputError(
                f"config.{name} = {ours[name]!r}",
                f"{place} has {theirs[name]!r}",
                f"set --config.{name}={theirs[name]}",
            )


def check_forward(best: BestModel) -> None:
    """Checks that a model reads texts from their beginning, as some tasks do.

    Raises:
      InputError: it reads them from their end.
    """
    if best.fields.get("data.backward"):
        raise InputError(
            "config.data.backward = True",
            "is of a model that reads from the end, and this task reads from the beginning",
            "give the workdir of a model that reads forward",
        )


def _of_model(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns what a model is: its group, and its tokens; a task chooses its own randomness,
    and how much of a text it remembers."""
    names = (
        *("data.level", "data.source_level", "data.source_length", "data.backward"),
        "jax_enable_x64",
    )
    return {
        n: v
        for n, v in fields.items()
        if (n.startswith("model.") and not n.startswith("model.eval_")) or n in names
    }
