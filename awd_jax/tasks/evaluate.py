"""Evaluates the best model of a workdir on the validation and test splits."""

from pathlib import Path

from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.run import processes
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.report import describe_nll
from awd_jax.run.workdir import describe
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.result import as_result, leave_json
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.streams import fingerprint, make_streams


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Prints both losses and writes evaluate.json.

    Raises:
      InputError: the workdir holds no finished epoch of this model, or the corpus
        cannot be read or has another vocabulary.
    """
    best = load_best_model(config, workdir)
    with processes.together():
        corpus = read_splits(config, best)
        streams = make_streams(config.train, corpus)
        replicas = choose_replicas(config.train)
    processes.check_same(describe(config, fingerprint(corpus)), but=("data.dir",))
    evaluate_stream = make_evaluate(best.model, config.train.bptt, replicas)
    valid_nll = evaluate_stream(best.params, streams.valid)
    test_nll = evaluate_stream(best.params, streams.test)
    if processes.is_first():
        leave_json(workdir, "evaluate", as_result(corpus, valid_nll, test_nll))
        output.say(f"best model of step {best.step}")
        output.say(f"valid {describe_nll(valid_nll, corpus.level)}")
        output.say(f"test {describe_nll(test_nll, corpus.level)}")
