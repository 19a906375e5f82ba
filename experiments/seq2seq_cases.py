"""What seq2seq_speed.py times beside PyTorch, and how; used by the workers of both sides."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.large_vocabulary import zipf_ids
from experiments.memory import peak_mib
from experiments.transformer_cases import NUM_CHECKED

MAX_GRAD_NORM, RATE = 5.0, 1e-3
CASES: dict[str, dict[str, Any]] = {
    "dates": {  # as configs/dates_attention.py
        "vocab_size": 60,
        "batch_size": 128,
        "source_length": 29,
        "target_length": 11,
        "model": {
            "embed_dim": 16,
            "hidden_dim": 256,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "reverse_source": True,
            "bidirectional": "none",
            "residual_from": 0,
            "hand_over": "h",
            "attention": "dot",
            "placement": "softmax",
        },
    },
    "gnmt": {
        "vocab_size": 1000,
        "batch_size": 64,
        "source_length": 20,
        "target_length": 20,
        "model": {
            "embed_dim": 64,
            "hidden_dim": 256,
            "encoder_layers": 3,
            "decoder_layers": 3,
            "reverse_source": False,
            "bidirectional": "bottom",
            "residual_from": 3,
            "hand_over": "state",
            "attention": "additive",
            "placement": "gnmt",
        },
    },
}


class Texts(NamedTuple):
    """Sources [S, B] and targets [T, B], which end with token 0; none of them is padding."""

    sources: np.ndarray
    targets: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        """What the decoder reads: token 0, and the targets."""
        return np.concatenate([np.zeros_like(self.targets[:1]), self.targets[:-1]])


def make_texts(case: dict[str, Any]) -> Texts:
    """The batch of a case."""
    s, t, batch_size = (case[n] for n in ("source_length", "target_length", "batch_size"))
    ids = zipf_ids(case["vocab_size"] - 1, s + t - 1, batch_size) + 1
    return Texts(ids[:s], np.concatenate([ids[s:], np.zeros_like(ids[:1])]))


def median_ms(run: Callable[[], Any], num_runs: int) -> tuple[float, float]:
    """Milliseconds of a run, and those of the processor, which other programs do not lengthen."""
    runs = []
    for _ in range(num_runs):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (1000 * statistics.median(seconds) for seconds in zip(*runs, strict=True))
    return wall, cpu


def measure(
    decode: Callable[[], float], step: Callable[[], tuple[float, float]], num_runs: int
) -> dict[str, Any]:
    """Milliseconds of decoding and of a training step, and what both sides must agree on.

    Args:
      decode: decodes greedily, and returns the mean log-probability of a token.
      step: trains, and returns the loss and the norm of the gradient.
      num_runs: of each.
    """
    decoded = decode()
    decode_ms = median_ms(decode, num_runs)
    first = [step() for _ in range(NUM_CHECKED)]
    step_ms = median_ms(step, num_runs)
    return {
        "first": first,
        "decoded": decoded,
        "step": step_ms,
        "greedy decoding": decode_ms,
        "mib": peak_mib(),
    }
