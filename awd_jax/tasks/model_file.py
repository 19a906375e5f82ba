"""The best model of a workdir: what every task after training starts from."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from awd_jax.data.corpus import Corpus
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.recipe import flatten
from awd_jax.run import processes
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.workdir import CHECKPOINTS, check_same, jax_settings
from awd_jax.train.backend import check_backend
from awd_jax.train.state import make_model
from awd_jax.train.streams import read_corpus


class BestModel(NamedTuple):
    """The model with the lowest validation loss of a run."""

    model: AWDLSTM
    params: optax.Params  # averaged, if averaging had begun
    vocabulary: Vocabulary
    level: str  # what a token is: word, char or byte
    step: int  # after how many windows of training


def load_best_model(config: ConfigDict, workdir: Path) -> BestModel:
    """Reads the best checkpoint of a workdir; needs no corpus and no optimizer.

    The vocabulary is that of the checkpoint; the config's group `model` and its
    `data.level` must be, too.

    Raises:
      InputError: there is no finished epoch, or a damaged one, or one of another model.
    """
    with Checkpoints(workdir / CHECKPOINTS) as checkpoints:
        best = checkpoints.best()
        fields, tokens = best.identity
        with processes.together():
            check_backend(config.model)
            ours = _of_model(flatten(config) | jax_settings())
            check_same(f"workdir {workdir}", _of_model(fields), ours)
        model = make_model(config.model, len(tokens))
        shapes = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
        params = jax.tree.map(jnp.asarray, checkpoints.restore_best_params(shapes))
    # Tasks compute in float32, as the parameters are, whatever the products of training were.
    model = model.clone(dtype=None)
    return BestModel(model, params, Vocabulary(tokens), config.data.level, best.progress.step)


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
