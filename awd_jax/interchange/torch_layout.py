"""Names and shapes of an AWD-LSTM in PyTorch: awd-lstm-lm's, and those of fastai 0.7, 1 and 2.

All of them wrap one-layer `nn.LSTM`s, whose matrices are ours transposed, with the gates in the
same order i, f, g, o. They differ in how they wrap weight drop, and each stores its tied embedding
two or three times.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from awd_jax.errors import InputError
from awd_jax.interchange.params import FlatParams

_WRAPPERS = r"(?:module\.|_orig_mod\.)*"  # of DataParallel and torch.compile
_RNN = r"(?:0\.)?rnns\.(\d+)\.(?:module\.)?"
# Our names of an encoder's parameters, by patterns of theirs.
ENCODER = {
    r"(?:0\.)?encoder\.weight": "embedding",
    r"(?:0\.)?(?:encoder_dp\.emb|encoder_with_dropout\.embed)\.weight": "tied.dropout",
    _RNN + "weight_ih_l0": r"lstm_\1.w_x",
    _RNN + "weight_hh_l0_raw": r"lstm_\1.w_h",
    _RNN + "weight_hh_l0": r"dropped.\1",
    _RNN + "bias_ih_l0": r"lstm_\1.b_x",
    _RNN + "bias_hh_l0": r"lstm_\1.b_h",
}
_MEANINGS = ENCODER | {
    r"(?:1\.)?decoder\.weight": "tied.decoder",
    r"(?:1\.)?decoder\.bias": "softmax.bias",
}
_AWD_LSTM_LM = {
    "w_x": "weight_ih_l0",
    "w_h": "weight_hh_l0_raw",
    "b_x": "bias_ih_l0",
    "b_h": "bias_hh_l0",
}


class Layout(NamedTuple):
    """What the names of a state_dict mean, as patterns."""

    wrappers: str  # what may stand before any name
    meanings: dict[str, str]  # our names by theirs
    model: str  # for messages
    fix: str


_LAYOUT = Layout(
    _WRAPPERS,
    _MEANINGS,
    "an AWD-LSTM language model",
    "give the state_dict of awd-lstm-lm's LSTM or fastai's AWD_LSTM, no QRNN, classifier or "
    "optimizer",
)


class FromTorch(NamedTuple):
    """Parameters, and the file's name of each."""

    params: FlatParams
    names: dict[str, str]


def from_torch(place: str, arrays: Mapping[str, np.ndarray]) -> FromTorch:
    """Converts a state_dict of any of the layouts to our parameters.

    If a layer stores its recurrent weights twice, raw and as dropped in the last window, the raw
    ones are used. A softmax without bias, which fastai allows, gets a bias of zeros.

    Args:
      place: where the arrays come from, for messages.
      arrays: the state_dict.

    Raises:
      InputError: a name does not belong to such a model, or the softmax is not tied to the
        embedding.
    """
    names = our_names(place, arrays, _LAYOUT)
    prefer_raw(names)
    if "tied.decoder" not in names:
        raise InputError(
            f"{place}: decoder.weight",
            "is missing",
            "give the whole language model, not its encoder alone",
        )
    for meaning in ("tied.decoder", "tied.dropout"):
        if meaning in names:
            copy = names.pop(meaning)
            if "embedding" in names and not np.array_equal(
                arrays[copy], arrays[names["embedding"]]
            ):
                raise InputError(
                    f"{place}: {copy}",
                    f"must equal {names['embedding']}",
                    "give a model whose softmax is tied to its embedding",
                )
    params = transposed(arrays, names)
    if "softmax.bias" not in params and "embedding" in params:
        params["softmax.bias"] = np.zeros(len(params["embedding"]), np.float32)
    return FromTorch(params, names)


def prefer_raw(names: dict[str, str], prefix: str = "") -> None:
    """Makes the recurrent weights of an encoder the raw ones, or the dropped ones if there are no
    others; our names of the encoder have this prefix."""
    dropped = f"{prefix}dropped."
    for meaning in [m for m in names if m.startswith(dropped)]:
        names.setdefault(f"{prefix}lstm_{meaning.removeprefix(dropped)}.w_h", names[meaning])
        del names[meaning]


def transposed(arrays: Mapping[str, np.ndarray], names: Mapping[str, str]) -> FlatParams:
    """Returns our parameters: torch's transposed, except the embedding."""
    # `.T` does not change vectors.
    return {
        ours: arrays[name]
        if ours.split(".")[-1] == "embedding"
        else np.ascontiguousarray(arrays[name].T)
        for ours, name in names.items()
    }


def to_torch(params: FlatParams) -> dict[str, np.ndarray]:
    """Converts parameters to a state_dict of awd-lstm-lm's RNNModel (weight drop, tied weights)."""
    arrays = {
        "encoder.weight": params["embedding"],
        "decoder.weight": params["embedding"],
        "decoder.bias": params["softmax.bias"],
    }
    for name, array in params.items():
        if name.startswith("lstm_"):
            layer, kind = name.removeprefix("lstm_").split(".")
            arrays[f"rnns.{layer}.module.{_AWD_LSTM_LM[kind]}"] = array.T
    return {name: np.asarray(array) for name, array in arrays.items()}


def our_names(place: str, arrays: Mapping[str, np.ndarray], layout: Layout) -> dict[str, str]:
    """Returns the file's names by ours.

    Raises:
      InputError: a name is not of the layout, or two have the same meaning.
    """
    names: dict[str, str] = {}
    for name in arrays:
        meaning = _meaning(name, layout)
        if meaning is None or meaning in names:
            raise InputError(
                f"{place}: {name}",
                f"is not part of {layout.model}" if meaning is None else "is there twice",
                layout.fix,
            )
        names[meaning] = name
    return names


def _meaning(name: str, layout: Layout) -> str | None:
    for pattern, meaning in layout.meanings.items():
        if match := re.fullmatch(f"{layout.wrappers}(?:{pattern})", name):
            return match.expand(meaning)
    return None
