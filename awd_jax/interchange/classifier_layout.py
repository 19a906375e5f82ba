"""Names and shapes of ULMFiT's classifier in fastai 1 and 2: an encoder and two blocks."""

from collections.abc import Mapping

import numpy as np

from awd_jax.interchange.torch_layout import (
    ENCODER,
    FromTorch,
    Layout,
    our_names,
    prefer_raw,
    transposed,
)

_NORM = {
    "weight": "scale",
    "bias": "shift",
    "running_mean": "mean",
    "running_var": "variance",
    "num_batches_tracked": "count",
}
# fastai 2 has a list of blocks, each normalisation, dropout and map; fastai 1 one list of all.
_PLACES = {r"0\.0": "block_0.norm", r"0\.2": "block_0", r"1\.0": "block_1.norm", r"1\.2": "block_1"}
_FLAT_PLACES = {"0": "block_0.norm", "2": "block_0", "4": "block_1.norm", "6": "block_1"}


def _meanings() -> dict[str, str]:
    meanings = {
        r"0\.(?:module\.)?" + pattern.removeprefix(r"(?:0\.)?"): f"encoder.{ours}"
        for pattern, ours in ENCODER.items()
    }
    for places in (_PLACES, _FLAT_PLACES):
        for place, ours in places.items():
            parts = _NORM if ours.endswith("norm") else {"weight": "w", "bias": "b"}
            for theirs, name in parts.items():
                meanings[rf"1\.layers\.{place}\.{theirs}"] = f"{ours}.{name}"
    return meanings


_LAYOUT = Layout(
    r"(?:_orig_mod\.)*",
    _meanings(),
    "an AWD-LSTM classifier",
    "give the state_dict of fastai's text classifier with an AWD_LSTM",
)


def from_classifier(place: str, arrays: Mapping[str, np.ndarray]) -> FromTorch:
    """Converts a state_dict of a classifier to our parameters.

    The encoder's softmax, which the file lacks, and biases, which fastai 2 leaves out, are zeros.

    Args:
      place: where the arrays come from, for messages.
      arrays: the state_dict.

    Raises:
      InputError: a name does not belong to such a model.
    """
    names = our_names(place, arrays, _LAYOUT)
    names = {ours: name for ours, name in names.items() if not ours.endswith(".count")}
    for ours in [ours for ours in names if ours.startswith("encoder.tied.")]:
        del names[ours]  # a copy of the embedding
    prefer_raw(names, "encoder.")
    params = transposed(arrays, names)
    if "encoder.embedding" in params:
        num_tokens = len(params["encoder.embedding"])
        params["encoder.softmax.bias"] = np.zeros(num_tokens, np.float32)
    for block in ("block_0", "block_1"):
        if f"{block}.w" in params and f"{block}.b" not in params:
            params[f"{block}.b"] = np.zeros(params[f"{block}.w"].shape[1], np.float32)
    return FromTorch(params, names)
