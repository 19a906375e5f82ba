"""Measures what an epoch of the PTB recipe costs beyond its bare training steps.

    python experiments/epoch_overhead.py --data=DIR

Trains some epochs on the first tokens of a corpus with the training loop of the command (windows,
progress, metrics log, waiting for the device), then runs the same step on the same windows in a
bare loop. The first epoch of each, which compiles, does not count.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from awd_jax.errors import RunError
from awd_jax.run.replicas import Replicas
from awd_jax.tasks.train import run_training
from awd_jax.train import make_problem
from awd_jax.train.learner import Learner
from configs import ptb
from experiments.arguments import at_least, directory_with


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    corpus = directory_with("train.txt", "valid.txt", "test.txt")
    parser.add_argument("--data", type=corpus, required=True, help="a directory of a corpus")
    parser.add_argument("--tokens", type=at_least(1), default=50_000)
    parser.add_argument("--epochs", type=at_least(2), default=4)
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """The command."""
    config = ptb.get_config()
    config.data.dir, config.data.max_tokens = str(options.data), options.tokens
    train = config.train
    train.num_devices, train.num_epochs = 1, options.epochs
    problem = make_problem(config)
    with tempfile.TemporaryDirectory() as directory:
        run_training(config, Path(directory), problem)
        lines = (Path(directory) / "timing.jsonl").read_text().splitlines()
    in_the_loop = [json.loads(line)["train_seconds"] for line in lines]

    learner = Learner(config, problem.model, Replicas(jax.local_devices()[:1]))
    state = learner.put(learner.start_epoch(learner.init()))
    for epoch, seconds in enumerate(in_the_loop, start=1):
        plan = problem.train(epoch)
        started = time.perf_counter()
        for position in range(len(plan)):
            state = learner.step(state, plan, position, epoch)
            jax.block_until_ready(state.step)
        bare = time.perf_counter() - started
        if epoch > 1:
            print(
                f"epoch {epoch}: {len(plan)} windows, {seconds:.1f} s, bare {bare:.1f} s, "
                f"ratio {seconds / bare:.3f}"
            )


if __name__ == "__main__":
    try:
        main(parse_arguments(sys.argv[1:]))
    except RunError as error:  # such as a corpus that is too short for a batch
        sys.exit(str(error))
