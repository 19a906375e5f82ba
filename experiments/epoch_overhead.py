"""What an epoch of the PTB recipe costs beyond its bare training steps.

    python experiments/epoch_overhead.py --data=DIR

Trains some epochs on the first tokens of a corpus with the command's own loop: windows, progress,
metrics log, the wait for the device; then takes the same windows through the same step in a bare
loop. The first epoch of each, which compiles, does not count.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for configs, however this is started

from awd_jax.data import windows
from awd_jax.errors import RunError
from awd_jax.run.replicas import Replicas
from awd_jax.tasks.train import run_training
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.state import init_state, make_model
from awd_jax.train.step import STATE_AXES, TRAIN_AXES, Regularisers, make_train_step
from awd_jax.train.streams import make_streams, read_corpus
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
    corpus = read_corpus(config.data)
    with tempfile.TemporaryDirectory() as directory:
        run_training(config, Path(directory), corpus)
        lines = (Path(directory) / "timing.jsonl").read_text().splitlines()
    in_the_loop = [json.loads(line)["train_seconds"] for line in lines]

    stream = make_streams(train, corpus).train
    model = make_model(config.model, len(corpus.vocabulary))
    optimizer = make_optimizer(config.optimizer)
    replicas = Replicas(jax.local_devices()[:1])
    regularisers = Regularisers(train.activation_reg, train.temporal_activation_reg)
    train_step = make_train_step(model, optimizer, regularisers, train.seed)
    step = replicas.pmap(train_step, *TRAIN_AXES)
    state = init_state(model, optimizer, train.seed, train.batch_size)
    state = state._replace(carry=replicas.split_carry(state.carry))
    state = replicas.put(state, STATE_AXES, donate=True)
    for epoch, seconds in enumerate(in_the_loop, start=1):
        plan = windows.epoch_windows(len(stream), train.bptt, train.seed, epoch)
        started = time.perf_counter()
        for start, length in zip(plan.starts.tolist(), plan.lengths.tolist(), strict=True):
            padded = windows.padded_length(length, train.bptt)
            batch = windows.window_batch(stream, start, length, padded)
            batch = replicas.split(batch, train.batch_size)
            state = step(state, batch, np.int32(length), np.float32(1.0))
            jax.block_until_ready(state.step)
        bare = time.perf_counter() - started
        if epoch > 1:
            print(
                f"epoch {epoch}: {len(plan.starts)} windows, {seconds:.1f} s, bare {bare:.1f} s, "
                f"ratio {seconds / bare:.3f}"
            )


if __name__ == "__main__":
    try:
        main(parse_arguments(sys.argv[1:]))
    except RunError as error:  # of a corpus too short for a batch, say
        sys.exit(str(error))
