"""Trains a model, or resumes its training, and tests the best one."""

from pathlib import Path
from typing import NamedTuple

import jax
import optax
from ml_collections import ConfigDict

from awd_jax.data.vocabulary import Vocabulary
from awd_jax.run import processes
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, by_path, checksum_arrays, checksum_json
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.report import Report
from awd_jax.run.stops import Interruption
from awd_jax.run.workdir import CHECKPOINTS, PLACES, describe, open_workdir
from awd_jax.tasks.decoding import generate_sentences
from awd_jax.tasks.model_file import BestModel
from awd_jax.tasks.results import as_result, write_json
from awd_jax.train import make_problem
from awd_jax.train.backend import check_backend
from awd_jax.train.loop import Trained, Trainer
from awd_jax.train.problem import Problem, check_widths


class Base(NamedTuple):
    """What a run starts from: a model of another run, at this step of it."""

    params: optax.Params
    step: int


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains a model or resumes; writes checkpoints, logs and result.json to the workdir.

    Raises:
      InputError: before anything is written: the corpus cannot be read or is
        shorter than a batch, the devices do not divide the batch, or the workdir
        belongs to another run or is in use. Or: none of its checkpoints can be used.
      RunError: as `Trainer.train`.
    """
    with processes.together():
        problem = make_problem(config)
    run_training(config, workdir, problem)


def run_training(
    config: ConfigDict,
    workdir: Path,
    problem: Problem,
    base: Base | None = None,
    is_finetuning: bool = False,
) -> None:
    """Runs `train` on data that have been read, from `base` if given: see `Trainer`."""
    with processes.together():
        replicas = choose_replicas(config.train)
        replicas.check_batch(config.train)
        check_backend(config.model)
        check_widths(problem.model)
    fields = describe(config, problem.fingerprint)
    processes.check_same(fields, but=PLACES)
    if base is not None:
        crc32 = checksum_json(checksum_arrays(by_path(jax.device_get(base.params))))
        fields["base"] = f"step {base.step}, crc32 {crc32:08x}"
    identity = Identity(fields, problem.vocabulary, problem.source_vocabulary, problem.labels)
    with (
        open_workdir(workdir, fields),
        Report(workdir) as report,
        Interruption() as interruption,
        Checkpoints(workdir / CHECKPOINTS, identity) as checkpoints,
    ):
        for note in problem.notes:
            report.say(note)
        trained = Trainer(
            config,
            problem,
            replicas,
            report,
            checkpoints,
            interruption,
            base=None if base is None else base.params,
            is_finetuning=is_finetuning,
        ).train()
        with processes.together():
            if processes.is_first():
                result = as_result(problem.source_nll, trained.valid, trained.test)
                write_json(workdir, "result", result)
        if processes.is_first():
            _report_result(config, problem, trained, report)


def _report_result(config: ConfigDict, problem: Problem, trained: Trained, report: Report) -> None:
    report.say(f"best model | valid {trained.valid.describe(problem)}")
    report.say(f"best model | test {trained.test.describe(problem)}")
    if problem.source_nll is not None:
        report.say(f"the source itself | {problem.describe_nll(problem.source_nll)}")
    if config.train.num_samples:
        vocabulary = Vocabulary(problem.vocabulary)
        model = problem.model.for_evaluation()
        fields = {"data.backward": config.data.backward}
        best = BestModel(
            model, trained.params, vocabulary, config.data.level, step=0, fields=fields
        )
        for sentence in generate_sentences(best, config.train.num_samples, config.train.seed):
            report.say(f"> {sentence}")
