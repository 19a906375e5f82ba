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
from awd_jax.run import processes
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.workdir import CHECKPOINTS, check_same, describe
from awd_jax.train.backend import check_backend
from awd_jax.train.language import read_corpus
from awd_jax.train.problem import make_model


class BestModel(NamedTuple):
    """The model of a run with the lowest validation loss."""

    model: Any  # a `Model`
    params: optax.Params  # averaged, if averaging had begun
    vocabulary: Vocabulary
    level: str  # what a token is: word, char or byte
    step: int  # windows trained on


def load_best_model(config: ConfigDict, workdir: Path) -> BestModel:
    """Reads the best checkpoint of a workdir; needs neither corpus nor optimizer.

    The vocabulary comes from the checkpoint; the config's group `model` and its
    `data.level` must match it.

    Raises:
      InputError: there is no finished epoch, it is damaged, or it is of another model.
    """
    with Checkpoints(workdir / CHECKPOINTS) as checkpoints:
        best = checkpoints.best()
        fields, tokens = best.identity
        with processes.together():
            check_backend(config.model)
            ours = _of_model(describe(config, {}))
            check_same(f"workdir {workdir}", _of_model(fields), ours)
        model = make_model(config.model, len(tokens))
        shapes = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
        params = jax.tree.map(jnp.asarray, checkpoints.restore_best_params(shapes))
    # Tasks compute in float32, the dtype of the parameters, whatever dtype training used.
    model = model.clone(dtype=None).for_evaluation()
    return BestModel(model, params, Vocabulary(tokens), config.data.level, best.progress.step)


def read_splits(config: ConfigDict, best: BestModel) -> Corpus:
    """Reads the corpus of the config, for the best model to score.

    Raises:
      InputError: it cannot be read, or has another vocabulary than the model.
    """
    corpus = read_corpus(config.data)
    check_vocabulary(corpus.name, corpus.vocabulary.tokens, best)
    return corpus


def check_vocabulary(name: str, tokens: tuple[str, ...], best: BestModel) -> None:
    """Checks that a corpus has the vocabulary of a model.

    Raises:
      InputError: it has another one.
    """
    if tokens != best.vocabulary.tokens:
        raise InputError(
            f"corpus {name} with {len(tokens):,} kinds of tokens",
            f"must have the vocabulary of the model, {len(best.vocabulary):,} kinds",
            "give the corpus that it was trained on, or --task=score for any text",
        )


def _of_model(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns what a model is: its group, and its tokens; a task chooses its own randomness,
    and how much of a text it remembers."""
    names = ("data.level", "jax_enable_x64")
    return {
        n: v
        for n, v in fields.items()
        if (n.startswith("model.") and not n.startswith("model.eval_")) or n in names
    }
