"""Finetuning: the second stage of Merity et al. 2018 (section 5)."""

from pathlib import Path

from ml_collections import ConfigDict

from awd_jax.run import processes
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.train import run_training

DIRECTORY = "finetune"  # of the finetuned run, in the workdir of the run it starts from


def finetune(config: ConfigDict, workdir: Path) -> None:
    """Finetunes the best model of a workdir; a run of its own in WORKDIR/finetune.

    From the best parameters (averages, if averaging had begun) it trains on with
    SGD and averages the iterates from the first step. It validates the averages,
    and stops where the trigger of NT-ASGD would fire, or after `train.num_epochs`.
    The base run is only read; its best model is step 0 of the new run, whose
    best model is therefore never worse. Resumes as training does.

    Raises:
      RunError: as `load_best_model`, `read_splits` and `train`.
    """
    best = load_best_model(config, workdir)
    with processes.together():
        corpus = read_splits(config, best)
    config = config.copy_and_resolve_references()
    config.optimizer.averaging = True
    run_training(config, workdir / DIRECTORY, corpus, best)
