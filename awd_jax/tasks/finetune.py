"""Finetuning: the second stage of Merity et al. 2018 (section 5)."""

from pathlib import Path

from ml_collections import ConfigDict

from awd_jax.models.contract import Model
from awd_jax.run import processes
from awd_jax.tasks.model_file import load_best_model, read_problem
from awd_jax.tasks.train import Base, run_training

DIRECTORY = "finetune"  # of the finetuned run, in the workdir of its base run


def finetune(config: ConfigDict, workdir: Path) -> None:
    """Finetunes the best model of a workdir, as a new run in WORKDIR/finetune.

    Starts from the best parameters (averaged, if averaging had begun), trains them with the
    config's optimizer (SGD in the paper), and averages the iterates from the first step. Validates
    the averages, and stops when the trigger of NT-ASGD would fire, or after `train.num_epochs`.
    The base run is only read. Its best model is step 0 of the new run, whose best model is
    therefore never worse. Resumes as training does.

    Raises:
      RunError: as `load_best_model`, `read_problem` and `train`.
    """
    best = load_best_model(config, workdir, Model)
    with processes.together():
        problem = read_problem(config, best)
    config = config.copy_and_resolve_references()
    config.optimizer.averaging = True
    base = Base(best.params, best.step)
    run_training(config, workdir / DIRECTORY, problem, base, is_finetuning=True)
