"""What one checkpoint costs a run of the PTB recipe, on a made corpus of the same sizes.

    python experiments/checkpoint_cost.py

Times steps without a save, then a save and the steps after it, which it may slow down.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for configs, however this is started

from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Progress, Validation
from awd_jax.run.replicas import Replicas
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.state import init_state, make_model
from awd_jax.train.step import STATE_AXES, TRAIN_AXES, Regularisers, make_train_step
from configs import ptb

VOCAB_SIZE, T = 10_000, 72
NUM_STEPS, NUM_SAVES = 8, 3


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are none but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """The command."""
    config = ptb.get_config()
    model = make_model(config.model, VOCAB_SIZE)
    optimizer = make_optimizer(config.optimizer)
    replicas = Replicas(jax.devices()[:1])
    train_step = make_train_step(model, optimizer, Regularisers(2.0, 1.0), config.train.seed)
    step = replicas.pmap(train_step, *TRAIN_AXES)
    state = init_state(model, optimizer, config.train.seed, config.train.batch_size)
    state = state._replace(carry=replicas.split_carry(state.carry))
    state = replicas.put(state, STATE_AXES, donate=True)
    tokens = np.random.RandomState(0).randint(
        0, VOCAB_SIZE, (T, 1, config.train.batch_size), np.int32
    )
    window = (tokens, np.roll(tokens, -1, 0), np.ones(tokens.shape, np.float32))

    def run() -> list[float]:
        nonlocal state
        seconds = []
        for _ in range(NUM_STEPS):
            started = time.perf_counter()
            state = jax.block_until_ready(step(state, window, np.int32(T), np.float32(1.0)))
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
            whole = state._replace(carry=replicas.gather_carry(state.carry))
            progress = Progress(int(state.step), epoch=1, window=save, log_bytes=0, best_nll=1.0)
            checkpoints.save(whole, progress, Validation(1.0, ".params"))
            call = time.perf_counter() - started
            after = run()
            cost = call + sum(after) - NUM_STEPS * without
            print(f"step {without:.2f} s; save: {call:.2f} s in the call, {cost:.2f} s in all")


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
