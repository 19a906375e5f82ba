"""State_dicts of PyTorch models, and what those compute; experiments/make_golden_interchange.py."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

LAYOUTS = ("awd_lstm_lm", "fastai_0", "fastai_1", "fastai_2")


class Golden(NamedTuple):
    state: dict  # under torch's names
    inputs: np.ndarray  # [T, B]
    logits: np.ndarray
    later_logits: np.ndarray  # of the inputs once more, with the carry


def load_golden(layout):
    with np.load(Path(__file__).with_name(f"golden_{layout}.npz")) as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): arrays.pop(n) for n in [*arrays] if n.startswith("state/")}
    return Golden(state, **arrays)


def save_state(path, state):
    safetensors.numpy.save_file(state, path)
    return path
