"""The best model of a workdir: what every task after training starts from."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import averaged_params
from awd_jax.data.corpus import Corpus
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.train import processes
from awd_jax.train.checkpoint import Checkpoints
from awd_jax.train.devices import check_backend, choose_devices
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.recipe import flatten
from awd_jax.train.state import init_state, make_model
from awd_jax.train.streams import read_corpus
from awd_jax.train.workdir import CHECKPOINTS, check_same, jax_settings


class BestModel(NamedTuple):
    """The model with the lowest validation loss of a run."""

    model: AWDLSTM
    params: optax.Params  # averaged, if averaging had begun
    vocabulary: Vocabulary
    level: str  # what a token is: word, char or byte
    step: int  # after how many windows of training


def load_best_model(config: ConfigDict, workdir: Path) -> BestModel:
    """Reads the best checkpoint of a workdir; needs no corpus.

    Vocabulary and optimizer, whose state holds the averages, are those of the
    checkpoint; the config's group `model` and its `data.level` must be, too.

    Raises:
      InputError: there is no finished epoch, or a damaged one, or one of another model.
    """
    with processes.together():
        read = _read_best(config, workdir) if processes.is_first() else None
    tokens, step = processes.broadcast_json(read and (read.tokens, read.step))
    model = make_model(config.model, len(tokens))
    shapes = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
    params = processes.broadcast_arrays(shapes if read is None else read.params)
    params = jax.tree.map(jnp.asarray, params)
    # Tasks compute in float32, as the parameters are, whatever the products of training were.
    model = model.clone(dtype=None)
    return BestModel(model, params, Vocabulary(tuple(tokens)), config.data.level, step)


class _Read(NamedTuple):
    """What of a checkpoint makes a model."""

    params: optax.Params
    tokens: list[str]
    step: int


def _read_best(config: ConfigDict, workdir: Path) -> _Read:
    directory = workdir / CHECKPOINTS
    if not directory.is_dir():
        raise InputError(
            f"workdir {workdir}", "holds no checkpoints", "train first, or give --workdir"
        )
    choose_devices(config.train)  # says in one line if there are none, which orbax does not
    check_backend(config.model)
    with Checkpoints(directory) as checkpoints:
        meta = checkpoints.best_meta()
        fields, tokens = meta["fields"], meta["vocabulary"]
        ours = _of_model(flatten(config) | jax_settings())
        check_same(f"workdir {workdir}", _of_model(fields), ours)
        trained = _unflatten(fields)
        model = make_model(config.model, len(tokens))
        optimizer = make_optimizer(trained.optimizer)
        shapes = jax.eval_shape(
            lambda: init_state(model, optimizer, 0, trained.train.batch_size, 1)
        )
        best = checkpoints.restore_best(shapes)
    return _Read(averaged_params(best.opt_state, best.params), tokens, int(best.step))


def read_splits(config: ConfigDict, best: BestModel) -> Corpus:
    """The corpus of the config, to be scored by the best model.

    Raises:
      InputError: it cannot be read, or has another vocabulary than the model.
    """
    corpus = read_corpus(config.data)
    if corpus.vocabulary != best.vocabulary:
        raise InputError(
            f"corpus {corpus.name} with {len(corpus.vocabulary):,} kinds of tokens",
            f"must have the vocabulary of the model, {len(best.vocabulary):,} kinds",
            "give the corpus that it was trained on, or --task=score for any text",
        )
    return corpus


def _of_model(fields: dict[str, Any]) -> dict[str, Any]:
    """What a model's arrays depend on. Randomness and precision of products are a task's own."""
    names = ("data.level", "jax_enable_x64")
    return {n: v for n, v in fields.items() if n.startswith("model.") or n in names}


def _unflatten(fields: dict[str, Any]) -> ConfigDict:
    """The inverse of `recipe.flatten`."""
    groups: dict[str, Any] = {}
    for name, value in fields.items():
        *group, field = name.split(".")
        (groups.setdefault(group[0], {}) if group else groups)[field] = value
    return ConfigDict(groups)
