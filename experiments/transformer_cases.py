"""What transformer_speed.py times beside PyTorch, and how; used by the workers of both sides."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from experiments.memory import peak_mib

VOCAB_SIZE, MAX_GRAD_NORM, RATE = 10_000, 0.25, 1e-3
NUM_CHECKED = 3  # steps whose losses must agree
SMALL = {
    "positions": "relative",
    "embed_dim": 128,
    "num_layers": 6,
    "num_heads": 4,
    "head_dim": 32,
    "inner_dim": 404,
    "memory_length": 70,
    "bptt": 70,
    "batch_size": 20,
}
WIDE = {"embed_dim": 410, "num_layers": 4, "num_heads": 10, "head_dim": 41, "inner_dim": 2100}
CASES: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "small plain": SMALL | {"positions": "absolute", "memory_length": 0},
    "wide": SMALL | WIDE | {"memory_length": 150, "bptt": 150, "batch_size": 8},
}


def median_ms(run: Callable[[], Any], num_runs: int) -> float:
    """Milliseconds of a run."""
    seconds = []
    for _ in range(num_runs):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def measure(step: Callable[[], tuple[float, float]], num_steps: int) -> dict[str, Any]:
    """The first losses and norms of gradients, then milliseconds and memory."""
    first = [step() for _ in range(NUM_CHECKED)]
    return {"first": first, "ms": median_ms(step, num_steps), "mib": peak_mib()}
