"""Imports a model that was trained elsewhere, or that `export_model` wrote, into a workdir."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.data.corpus import Corpus
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from awd_jax.files import local_path
from awd_jax.interchange.params import (
    FlatParams,
    check_params,
    flat_shapes,
    move_rows,
    unflatten_params,
)
from awd_jax.interchange.torch_layout import FromTorch, from_torch
from awd_jax.interchange.transformer_layout import from_transformer, is_transformer
from awd_jax.interchange.weights_file import read_weights
from awd_jax.run.manifest import Identity
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.report import describe_nll
from awd_jax.run.workdir import CHECKPOINTS, describe
from awd_jax.tasks.foreign_vocabulary import read_vocabulary
from awd_jax.tasks.import_classifier import import_classifier
from awd_jax.tasks.model_file import check_structure
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.save_model import save_model
from awd_jax.train import PROBLEMS
from awd_jax.train.backend import check_backend
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.language import corpus_problem, fingerprint, language_problem, read_corpus
from awd_jax.train.problem import make_model


class Imported(NamedTuple):
    """A model that fits the config."""

    params: FlatParams
    corpus: Corpus  # with empty splits if the model keeps its own tokens
    num_new_tokens: int


def import_model(config: ConfigDict, workdir: Path) -> None:
    """Imports a model as a workdir with one checkpoint, from which every task can start.

    With `import_model.tokens` "corpus", the model is evaluated, and `--task=train` can continue
    from it. With "file", there is no text to evaluate it on: the checkpoint is ranked like the
    uniform distribution, log V nats, so that any evaluated checkpoint comes before it.

    Raises:
      InputError: before anything is written: the weights or the vocabulary cannot be read or
        belong to another model than the config's, or the workdir holds checkpoints.
    """
    if any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob("*")):
        raise InputError(f"workdir {workdir}", "holds checkpoints", "give another --workdir")
    if config.model.name == "classifier":
        import_classifier(config, workdir)
        return
    if PROBLEMS[config.model.name] is not language_problem:
        raise InputError(
            f"config.model.name = {config.model.name}",
            "must be a language model or a classifier for this task",
            "give the config of such a model",
        )
    replicas = choose_replicas(config.train)
    check_backend(config.model)
    imported = _read(config)
    corpus = imported.corpus
    model = make_model(config.model, len(corpus.vocabulary))
    params = jax.tree.map(jnp.asarray, unflatten_params(imported.params))
    valid_nll = None
    if len(corpus.valid):
        evaluate = make_evaluate(model.for_evaluation(), replicas)
        valid_nll = evaluate(params, corpus_problem(config, corpus).valid)
        if not math.isfinite(valid_nll):
            raise InputError(
                f"validation loss {valid_nll}", "must be finite", "give a model that has converged"
            )
    rank = math.log(len(corpus.vocabulary)) if valid_nll is None else valid_nll
    identity = Identity(describe(config, fingerprint(corpus)), corpus.vocabulary.tokens)
    save_model(config, workdir, model, params, identity, rank)
    num_params = sum(p.size for p in jax.tree.leaves(params))
    result = {
        "path": config.import_model.path,
        "num_params": num_params,
        "num_tokens": len(corpus.vocabulary),
        "num_new_tokens": imported.num_new_tokens,
        "valid_nll": valid_nll,
    }
    leave_json(workdir, "import_model", result)
    output.say(f"{num_params:,} parameters, {len(corpus.vocabulary):,} kinds of tokens")
    if imported.num_new_tokens:
        output.say(f"{imported.num_new_tokens:,} tokens are new and have the mean of all rows")
    if valid_nll is not None:
        output.say(f"valid {describe_nll(valid_nll, corpus.level)}")


def _read(config: ConfigDict) -> Imported:
    path = local_path("config.import_model.path", config.import_model.path)
    place = f"weights {path}"
    weights = read_weights(path)
    # What a file of export_model says of its model; other files say nothing.
    try:
        theirs = dict(json.loads(weights.metadata.get("config", "{}")))
    except (ValueError, TypeError) as error:
        fix = "give it without that entry"
        raise InputError(f"the config in {place}", "is no object of JSON", fix) from error
    check_structure(place, theirs, config)
    # A name that no other program uses.
    own = any(name.split(".")[0] == "embedding" for name in weights.arrays)
    if own:
        params, names = FromTorch(weights.arrays, {})
    elif is_transformer(weights.arrays):
        params, names = from_transformer(place, weights.arrays, config.model.cutoffs)
    else:
        params, names = from_torch(place, weights.arrays)
    vocabulary = read_vocabulary(config, weights)
    if "softmax.bias" in params and len(vocabulary) != len(params["softmax.bias"]):
        raise InputError(
            f"vocabulary of {len(vocabulary):,} tokens",
            f"must have one for each of the {len(params['softmax.bias']):,} tokens of the model",
            "give the vocabulary of these weights as --config.import_model.vocabulary",
        )
    model = make_model(config.model, len(vocabulary))
    check_params(place, params, flat_shapes(model), names)
    if config.import_model.tokens == "file":
        return Imported(params, _no_text(vocabulary, config.data.level), 0)
    if "embedding" not in model.row_params:
        raise InputError(
            "config.import_model.tokens = corpus",
            f"cannot move tokens between the clusters of an {config.model.softmax} softmax",
            "leave --config.import_model.tokens out: the model keeps its own tokens",
        )
    corpus = read_corpus(config.data)
    moved = move_rows(params, model.row_params, vocabulary.tokens, corpus.vocabulary.tokens)
    return Imported(moved.params, corpus, moved.num_new)


def _no_text(vocabulary: Vocabulary, level: str) -> Corpus:
    nothing = np.zeros(0, np.int32)
    return Corpus("none", level, vocabulary, nothing, nothing, nothing, notes=(), entropy=None)
