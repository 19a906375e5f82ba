"""Evaluates the best model of a workdir on the validation and test splits."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import averaged_params
from awd_jax.errors import InputError
from awd_jax.tasks.result import write_result
from awd_jax.train.checkpoint import Checkpoints
from awd_jax.train.devices import choose_devices
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.report import describe_nll
from awd_jax.train.state import init_state, make_model
from awd_jax.train.streams import make_streams, read_corpus
from awd_jax.train.workdir import CHECKPOINTS, describe


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Prints both losses and writes evaluate.json.

    Raises:
      InputError: the workdir holds no finished epoch of this config.
    """
    if not (workdir / CHECKPOINTS).is_dir():
        raise InputError(
            f"workdir {workdir}", "holds no checkpoints", "train first, or give --workdir"
        )
    corpus = read_corpus(config.data)
    streams = make_streams(config.train, corpus)
    devices = choose_devices(config.train)
    model = make_model(config.model, len(corpus.vocabulary))
    optimizer = make_optimizer(config.optimizer)
    shapes = jax.eval_shape(
        lambda: init_state(model, optimizer, config.train.seed, config.train.batch_size, 1)
    )
    fields, tokens = describe(config, corpus), corpus.vocabulary.tokens
    with Checkpoints(workdir / CHECKPOINTS, fields, tokens, read_only=True) as checkpoints:
        best = checkpoints.restore_best(shapes)
    params = averaged_params(best.opt_state, best.params)
    evaluate_stream = make_evaluate(model, config.train.bptt, devices)
    valid_nll = evaluate_stream(params, streams.valid)
    test_nll = evaluate_stream(params, streams.test)
    write_result(workdir, "evaluate", corpus, valid_nll, test_nll)
    print(f"best model of step {int(best.step)}")
    print(f"valid {describe_nll(valid_nll, corpus.level)}")
    print(f"test {describe_nll(test_nll, corpus.level)}")
