"""Makes a workdir of a model that was trained elsewhere, or that `export_model` wrote."""

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
from awd_jax.interchange.params import Dims, FlatParams, infer_dims, move_rows, unflatten_params
from awd_jax.interchange.torch_layout import from_torch
from awd_jax.interchange.weights_file import WeightsFile, read_weights
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Progress, Validation
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.report import describe_nll
from awd_jax.run.workdir import CHECKPOINTS, describe, open_workdir
from awd_jax.tasks.foreign_vocabulary import read_vocabulary
from awd_jax.tasks.result import leave_json
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.state import init_state, make_model, where_evaluated
from awd_jax.train.streams import fingerprint, make_streams, read_corpus


class Imported(NamedTuple):
    """A model that fits the config."""

    params: FlatParams
    corpus: Corpus  # without any text if the model keeps its own tokens
    num_new_tokens: int


def import_model(config: ConfigDict, workdir: Path) -> None:
    """Writes a workdir with one checkpoint, from which every task starts as from a trained one.

    With `import_model.tokens` "corpus" the model is evaluated, and `--task=train` goes on from
    it. With "file" there is no text to evaluate it on: the checkpoint is ranked as the uniform
    distribution, log V nats, so that anything that was ever evaluated comes before it.

    Raises:
      InputError: before anything is written: weights or vocabulary that cannot be read or are of
        another model than the config's, or a workdir that is not empty.
    """
    if any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob("*")):
        raise InputError(f"workdir {workdir}", "holds checkpoints", "give another --workdir")
    replicas = choose_replicas(config.train)
    imported = _read(config)
    corpus = imported.corpus
    model = make_model(config.model, len(corpus.vocabulary))
    params = jax.tree.map(jnp.asarray, unflatten_params(imported.params))
    valid_nll = None
    if len(corpus.valid):
        streams = make_streams(config.train, corpus)
        valid_nll = make_evaluate(model, config.train.bptt, replicas)(params, streams.valid)
        if not math.isfinite(valid_nll):
            raise InputError(
                f"validation loss {valid_nll}", "must be finite", "give a model that has converged"
            )
    optimizer = make_optimizer(config.optimizer)
    state = init_state(model, optimizer, config.train.seed, config.train.batch_size)
    state = state._replace(params=params, opt_state=optimizer.init(params))
    identity = Identity(describe(config, fingerprint(corpus)), corpus.vocabulary.tokens)
    with (
        open_workdir(workdir, identity.fields),
        Checkpoints(workdir / CHECKPOINTS, identity) as checkpoints,
    ):
        rank = math.log(len(corpus.vocabulary)) if valid_nll is None else valid_nll
        progress = Progress(step=0, epoch=1, window=0, log_bytes=0, best_nll=rank)
        checkpoints.save(state, progress, Validation(rank, where_evaluated(state)))
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
    _check_level(place, weights, config.data.level)
    own = "embedding" in weights.arrays
    params, names = (weights.arrays, {}) if own else from_torch(place, weights.arrays)
    dims = infer_dims(place, params, names)
    _check_dims(place, dims, config.model)
    vocabulary = read_vocabulary(config, weights)
    if len(vocabulary) != dims.vocab_size:
        raise InputError(
            f"vocabulary of {len(vocabulary):,} tokens",
            f"must have one for each of the {dims.vocab_size:,} rows of the embedding",
            "give the vocabulary of these weights as --config.import_model.vocabulary",
        )
    if config.import_model.tokens == "file":
        return Imported(params, _no_text(vocabulary, config.data.level), 0)
    corpus = read_corpus(config.data)
    moved = move_rows(params, vocabulary.tokens, corpus.vocabulary.tokens)
    return Imported(moved.params, corpus, moved.num_new)


def _check_level(place: str, weights: WeightsFile, level: str) -> None:
    theirs = weights.metadata.get("level", level)  # only a file of export_model says it
    if theirs != level:
        raise InputError(
            f"config.data.level = {level!r}",
            f"{place} has tokens of level {theirs!r}",
            f"set --config.data.level={theirs}",
        )


def _check_dims(place: str, dims: Dims, config: ConfigDict) -> None:
    """Checks the config's group `model`."""
    pairs = {
        "embed_dim": (config.embed_dim, dims.embed_dim),
        "hidden_dim": (config.hidden_dim, dims.hidden_dim),
        "num_layers": (config.num_layers, dims.num_layers),
    }
    if dims.num_layers == 1:
        del pairs["hidden_dim"]  # there is no inner layer
    wrong = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if wrong:
        raise InputError(
            ", ".join(f"config.model.{name} = {ours}" for name, (ours, _) in wrong.items()),
            f"{place} has " + ", ".join(f"{name} {theirs}" for name, (_, theirs) in wrong.items()),
            "set " + " ".join(f"--config.model.{n}={theirs}" for n, (_, theirs) in wrong.items()),
        )


def _no_text(vocabulary: Vocabulary, level: str) -> Corpus:
    nothing = np.zeros(0, np.int32)
    return Corpus("none", level, vocabulary, nothing, nothing, nothing, notes=(), entropy=None)
