"""Trains a classifier on the encoder of a language model (Howard and Ruder 2018, stage 3)."""

from pathlib import Path

from ml_collections import ConfigDict

from awd_jax.errors import InputError
from awd_jax.models.contract import LanguageModel
from awd_jax.run import processes
from awd_jax.tasks.model_file import check_structure, load_own_model
from awd_jax.tasks.train import Base, run_training
from awd_jax.train.labels import labels_problem
from awd_jax.train.state import Purpose, make_key


def classify(config: ConfigDict, workdir: Path) -> None:
    """Trains a classifier from the language model of a workdir, as a run in WORKDIR/<config.name>.

    The config is the classifier's; the encoder's vocabulary and its parameters, averaged if
    averaging had begun, are the language model's. That run is only read. Resumes as training does.

    Raises:
      RunError: the workdir has no language model, or one that the encoder of the config is not;
        or as `train`.
    """
    if config.model.name != "classifier":
        raise InputError(
            f"config.model.name = {config.model.name}",
            "must be classifier for this task",
            "give the config of a classifier, and the --workdir of its language model",
        )
    best = load_own_model(workdir, LanguageModel)
    base_name = best.fields["model.name"]
    if base_name != "recurrent":
        raise InputError(
            f"workdir {workdir} with model.name = {base_name}",
            "must be that of a recurrent language model",
            "give another --workdir",
        )
    check_structure(f"workdir {workdir}", {**best.fields, "model.name": config.model.name}, config)
    with processes.together():
        problem = labels_problem(config, best.vocabulary)
    params = problem.model.init_params(make_key(config.train.seed, Purpose.INIT))
    base = Base(params | {"encoder": best.params}, best.step)
    run_training(config, workdir / config.name, problem, base)
