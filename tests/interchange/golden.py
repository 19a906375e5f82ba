"""State_dicts of PyTorch models, and what those compute.

Made by experiments/make_golden_interchange.py and experiments/make_golden_transformer_xl.py.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

LAYOUTS = ("awd_lstm_lm", "fastai_0", "fastai_1", "fastai_2")
TRANSFORMERS = ("one_softmax", "div_val_1", "div_val_2", "div_val_4", "same_length")


class Golden(NamedTuple):
    state: dict  # under torch's names
    inputs: np.ndarray  # [T, B]
    logits: np.ndarray
    later_logits: np.ndarray  # of the inputs once more, with the carry


def load_golden(layout):
    state, arrays = _load(f"golden_{layout}.npz")
    return Golden(state, **arrays)


class GoldenTransformer(NamedTuple):
    state: dict  # under the names of the library port
    config: dict  # the port's fields
    inputs: np.ndarray  # [S, T, B]: segments in a row
    log_probs: np.ndarray  # [S, T, B, V]; the memory is empty before the first segment


def load_transformer(name):
    state, arrays = _load(f"golden_transformer_xl/{name}.npz")
    config = json.loads(arrays.pop("config").item())
    return GoldenTransformer(state, config, **arrays)


def as_authors(state):
    """The same model, with shared biases, in the layout of the authors' PyTorch code."""
    return {
        name.removeprefix("transformer."): a[::-1] if name.startswith("crit.cluster") else a
        for name, a in state.items()
        if not name.endswith(("dec_attn.r_w_bias", "dec_attn.r_r_bias"))
    }


def _load(name):
    with np.load(Path(__file__).parent / name) as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): arrays.pop(n) for n in [*arrays] if n.startswith("state/")}
    return state, arrays


def save_state(path, state):
    safetensors.numpy.save_file(state, path)
    return path
