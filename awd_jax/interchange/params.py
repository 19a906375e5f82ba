"""The parameters of an AWD-LSTM as arrays with one name each: "embedding", "lstm_0.w_x", ..."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from awd_jax.errors import InputError
from awd_jax.models.awd_lstm import AWDLSTM, Params

FlatParams = dict[str, Any]  # of arrays, or of shapes


class Dims(NamedTuple):
    """The sizes of an AWD-LSTM, as the fields of `AWDLSTM`."""

    vocab_size: int
    embed_dim: int
    hidden_dim: int  # embed_dim where there is but one layer
    num_layers: int


class MovedRows(NamedTuple):
    """Parameters for another vocabulary."""

    params: FlatParams
    num_new: int  # tokens that the vocabulary before does not have


def flatten_params(params: Params) -> FlatParams:
    """One dict with dotted names."""
    flat: FlatParams = flatten_dict(params, sep=".")
    return flat


def unflatten_params(flat: FlatParams) -> Params:
    """The inverse of `flatten_params`."""
    return unflatten_dict(flat, sep=".")


def flat_shapes(model: AWDLSTM) -> FlatParams:
    """Names, shapes and dtypes of a model's parameters; nothing is computed."""
    return flatten_params(jax.eval_shape(model.init_params, jax.random.key(0)))


def infer_dims(place: str, flat: FlatParams, names: Mapping[str, str]) -> Dims:
    """The sizes of the model that these are the parameters of.

    Args:
      place: where they come from, for the error.
      flat: the parameters.
      names: what that place calls them, where it differs.

    Raises:
      InputError: one is missing or too many, or has a shape that does not fit the others'.
    """

    def refuse(name: str, what: str, rule: str) -> InputError:
        theirs = names.get(name, name)
        known_as = f"{theirs} (here {name})" if theirs != name else name
        return InputError(
            f"{place}: {known_as} {what}",
            rule,
            "give the whole state of an AWD-LSTM language model",
        )

    for name in ("embedding", "lstm_0.w_h"):
        if name not in flat:
            raise refuse(name, "is missing", "every parameter of the model must be there")
        if flat[name].ndim != 2 or 0 in flat[name].shape:
            what = f"has shape {list(flat[name].shape)}"
            raise refuse(name, what, "must have two axes, neither of them empty")
    vocab_size, embed_dim = flat["embedding"].shape
    num_layers = len({name.split(".")[0] for name in flat if name.startswith("lstm_")})
    dims = Dims(vocab_size, embed_dim, flat["lstm_0.w_h"].shape[0], num_layers)
    expected = flat_shapes(AWDLSTM(**dims._asdict()))
    for name in expected:
        if name not in flat:
            raise refuse(name, "is missing", "every parameter of the model must be there")
    for name, array in flat.items():
        if name not in expected:
            raise refuse(name, "is there", "is no parameter of this model")
        if array.shape != expected[name].shape:
            what = f"has shape {list(array.shape)}"
            rule = f"must be {list(expected[name].shape)} by the shapes of embedding and lstm_0.w_h"
            raise refuse(name, what, rule)
    return dims


def move_rows(flat: FlatParams, before: Sequence[str], after: Sequence[str]) -> MovedRows:
    """The rows of embedding and softmax bias in the order of another vocabulary.

    A token that was not there before gets the mean of all rows (Howard and Ruder 2018, ULMFiT);
    one that is not there any more is dropped.
    """
    ids = {token: index for index, token in enumerate(before)}
    rows = np.array([ids.get(token, -1) for token in after])
    moved = {
        name: np.where(
            (rows < 0).reshape(-1, *(1,) * (array.ndim - 1)),
            array.mean(axis=0, dtype=np.float64).astype(array.dtype),
            array[rows],
        )
        for name, array in flat.items()
        if name in ("embedding", "softmax_bias")
    }
    return MovedRows({**flat, **moved}, int((rows < 0).sum()))
