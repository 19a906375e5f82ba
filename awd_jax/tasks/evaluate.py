"""Evaluates the best model of a workdir on the validation and test splits."""

from pathlib import Path

from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.models.contract import Model
from awd_jax.run import processes
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.workdir import PLACES, describe
from awd_jax.tasks.model_file import load_best_model, read_problem
from awd_jax.tasks.results import as_result, leave_json
from awd_jax.train.validation import make_validate


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluates the best model on valid and test; prints the results and writes evaluate.json.

    Raises:
      InputError: the workdir holds no finished epoch of this model, or the corpus
        cannot be read or has another vocabulary.
    """
    best = load_best_model(config, workdir, Model)
    with processes.together():
        problem = read_problem(config, best)
        replicas = choose_replicas(config.train)
    processes.check_same(describe(config, problem.fingerprint), but=PLACES)
    _, validate = make_validate(config.train, problem._replace(model=best.model), replicas)
    valid, test = (validate(best.params, plan) for plan in (problem.valid, problem.test))
    if processes.is_first():
        leave_json(workdir, "evaluate", as_result(problem.source_nll, valid, test))
        output.say(f"best model of step {best.step}")
        output.say(f"valid {valid.describe(problem)}")
        output.say(f"test {test.describe(problem)}")
