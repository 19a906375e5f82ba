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
from awd_jax.models.contract import LanguageModel, Model, Translator
from awd_jax.run import processes
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.workdir import CHECKPOINTS, check_same, describe
from awd_jax.train.backend import check_backend
from awd_jax.train.language import read_corpus
from awd_jax.train.problem import make_model

# What a task may need, as an error says it.
_KINDS: dict[type[Any], str] = {
    Model: "a model",
    LanguageModel: "a language model",
    Translator: "a translator",
}


class BestModel(NamedTuple):
    """The best model of a run: with the lowest validation loss, or the best measure."""

    model: Any  # a `Model`
    params: optax.Params  # averaged, if averaging had begun
    vocabulary: Vocabulary
    level: str  # what a token is: word, char or byte
    step: int  # windows trained on
    source_vocabulary: Vocabulary | None = None  # of a translator
    source_level: str | None = None
    source_length: int = 0  # to which sources are filled up with `<pad>`


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
    with Checkpoints(workdir / CHECKPOINTS) as checkpoints:
        best = checkpoints.best()
        fields, tokens, source_tokens = best.identity
        with processes.together():
            check_backend(config.model)
            ours = _of_model(describe(config, {}))
            check_same(f"workdir {workdir}", _of_model(fields), ours)
        model = make_model(config.model, len(tokens), len(source_tokens) or None)
        _check_kind(config, model, contract)
        shapes = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
        params = jax.tree.map(jnp.asarray, checkpoints.restore_best_params(shapes))
    # Tasks compute in float32, the dtype of the parameters, whatever dtype training used.
    model = model.clone(dtype=None).for_evaluation()
    found = BestModel(model, params, Vocabulary(tokens), config.data.level, best.progress.step)
    if not source_tokens:
        return found
    return found._replace(
        source_vocabulary=Vocabulary(source_tokens),
        source_level=config.data.source_level,
        source_length=config.data.source_length,
    )


def _check_kind(config: ConfigDict, model: Any, contract: type[Any]) -> None:
    if not isinstance(model, contract):
        raise InputError(
            f"config.model.name = {config.model.name}",
            f"must be {_KINDS[contract]} for this task",
            "give another --task, or the config and --workdir of such a model",
        )


def read_splits(config: ConfigDict, best: BestModel) -> Corpus:
    """Reads the corpus of the config, for the best model to score.

    Raises:
      InputError: it cannot be read, or has another vocabulary than the model.
    """
    corpus = read_corpus(config.data)
    check_vocabulary(corpus.name, corpus.vocabulary.tokens, best)
    return corpus


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


def _of_model(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns what a model is: its group, and its tokens; a task chooses its own randomness,
    and how much of a text it remembers."""
    names = ("data.level", "data.source_level", "data.source_length", "jax_enable_x64")
    return {
        n: v
        for n, v in fields.items()
        if (n.startswith("model.") and not n.startswith("model.eval_")) or n in names
    }
