"""How a model learns, and the problem of each model, by its name in a config."""

from collections.abc import Callable

from ml_collections import ConfigDict

from awd_jax.train.bits import bits_problem
from awd_jax.train.labels import labels_problem
from awd_jax.train.language import language_problem
from awd_jax.train.pairs import pairs_problem
from awd_jax.train.problem import Problem

PROBLEMS: dict[str, Callable[[ConfigDict], Problem]] = {
    "recurrent": language_problem,
    "transformer": language_problem,
    "seq2seq": pairs_problem,
    "classifier": labels_problem,
    "bits": bits_problem,
}


def make_problem(config: ConfigDict) -> Problem:
    """Returns the problem of a config: builds its model and reads its data.

    Raises:
      InputError: the data cannot be read, or do not fill a batch.
    """
    return PROBLEMS[config.model.name](config)
