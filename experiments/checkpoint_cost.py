"""Measures what one checkpoint costs a run of the PTB recipe, on random tokens.

    python experiments/checkpoint_cost.py

Times steps without a save, then a save and the steps after it, which the save may slow down.
"""

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from awd_jax.data.windows import batchify, even_plan
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Progress
from awd_jax.run.replicas import Replicas
from awd_jax.train.learner import Learner
from awd_jax.train.problem import make_model
from configs import ptb

VOCAB_SIZE, T = 10_000, 72
NUM_STEPS, NUM_SAVES = 8, 3


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are no options but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """The command."""
    config = ptb.get_config()
    model = make_model(config.model, VOCAB_SIZE)
    learner = Learner(config, model, Replicas(jax.devices()[:1]))
    state = learner.put(learner.start_epoch(learner.init()))
    batch_size = config.train.batch_size
    tokens = np.random.RandomState(0).randint(0, VOCAB_SIZE, (T + 1) * batch_size, np.int32)
    plan = even_plan(batchify(tokens, batch_size), T)

    def run() -> list[float]:
        nonlocal state
        seconds = []
        for _ in range(NUM_STEPS):
            started = time.perf_counter()
            state = jax.block_until_ready(learner.step(state, plan, position=0, epoch=1))
            seconds.append(time.perf_counter() - started)
        return seconds

    run()
    identity = Identity({}, tuple(map(str, range(VOCAB_SIZE))))
    with (
        tempfile.TemporaryDirectory() as directory,
        Checkpoints(Path(directory) / "checkpoints", identity) as checkpoints,
    ):
        for save in range(NUM_SAVES):
            without = np.median(run())
            started = time.perf_counter()
            progress = Progress(int(state.step), 1, save, 0, math.inf, 0)
            checkpoints.save(learner.gather(state), progress, None)
            call = time.perf_counter() - started
            after = run()
            cost = call + sum(after) - NUM_STEPS * without
            print(f"step {without:.2f} s; save: {call:.2f} s in the call, {cost:.2f} s in all")


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
