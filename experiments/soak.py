"""Trains for thousands of steps with evaluations and checkpoints, and watches memory and programs.

    python experiments/soak.py

Prints the resident memory after epochs, its slope by least squares over the second half of the
run, and how many programs were compiled in each epoch.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import jax.monitoring
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from awd_jax.tasks.train import train
from configs import quickstart
from experiments.arguments import at_least

SECONDS = 0.5  # between two samples
COMPILED = "/jax/core/compile/backend_compile_duration"


def resident_mib() -> float:
    """The memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=at_least(2), default=40)
    parser.add_argument("--checkpoint_steps", type=at_least(1), default=20)
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """The command."""
    config = quickstart.get_config()
    config.train.num_epochs = options.epochs
    config.train.checkpoint_steps = options.checkpoint_steps
    config.train.log_steps = 20
    config.train.num_samples = 0
    config.optimizer.nonmono = 1  # so that averaging begins

    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "timing.jsonl"

        def epochs_done() -> int:
            return log.read_text().count("\n") if log.exists() else 0

        compiled: list[int] = []  # the epochs done when each program was compiled
        jax.monitoring.register_event_duration_secs_listener(
            lambda event, _, **__: compiled.append(epochs_done()) if event == COMPILED else None
        )
        memory: dict[int, float] = {}  # by epochs done: the first sample after each
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SECONDS):
                memory.setdefault(epochs_done(), resident_mib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            train(config, Path(directory))
        finally:
            over.set()
            watcher.join()
        steps = [0] + [json.loads(line)["step"] for line in log.read_text().splitlines()]
    for epoch in list(memory)[:: max(1, len(memory) // 10)]:
        print(f"step {steps[epoch]:6,}: {memory[epoch]:7.1f} MiB")
    second_half = [epoch for epoch in memory if epoch >= options.epochs // 2]
    x, y = [steps[e] for e in second_half], [memory[e] for e in second_half]
    slope = 1000 * np.polyfit(x, y, 1)[0]
    print(f"slope from step {x[0]:,} to {x[-1]:,}: {slope:+.3f} MiB per 1,000 steps")
    for epoch in sorted(set(compiled)):
        print(f"epoch {epoch + 1}: {compiled.count(epoch)} programs compiled")


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
