"""Evaluates the best model of a workdir on the validation and test splits."""

from pathlib import Path

from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.run import processes
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.workdir import PLACES, describe
from awd_jax.tasks.model_file import check_vocabulary, load_best_model
from awd_jax.tasks.results import as_result, leave_json
from awd_jax.train import make_problem
from awd_jax.train.evaluation import make_evaluate


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluates the best model on valid and test; prints both losses and writes evaluate.json.

    Raises:
      InputError: the workdir holds no finished epoch of this model, or the corpus
        cannot be read or has another vocabulary.
    """
    best = load_best_model(config, workdir)
    with processes.together():
        problem = make_problem(config)
        check_vocabulary(config.data.corpus, problem.vocabulary, best)
        replicas = choose_replicas(config.train)
    processes.check_same(describe(config, problem.fingerprint), but=PLACES)
    evaluate_plan = make_evaluate(best.model, replicas)
    valid_nll = evaluate_plan(best.params, problem.valid)
    test_nll = evaluate_plan(best.params, problem.test)
    if processes.is_first():
        leave_json(workdir, "evaluate", as_result(problem.source_nll, valid_nll, test_nll))
        output.say(f"best model of step {best.step}")
        output.say(f"valid {problem.describe_nll(valid_nll)}")
        output.say(f"test {problem.describe_nll(test_nll)}")
