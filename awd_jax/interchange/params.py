"""The parameters of a model as a flat dict of named arrays: "embedding", "lstm_0.w_x", ..."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from awd_jax.errors import InputError
from awd_jax.models.contract import Model, Params

FlatParams = dict[str, Any]  # arrays, or their shapes and dtypes, by name
_FIX = (
    "give the whole model, and set --config.model.embed_dim, num_layers and its other sizes to it"
)


class MovedRows(NamedTuple):
    """Parameters whose rows follow another vocabulary."""

    params: FlatParams
    num_new: int  # tokens that the old vocabulary lacks


def flatten_params(params: Params) -> FlatParams:
    """Returns parameters as one dict with dotted names."""
    flat: FlatParams = flatten_dict(params, sep=".")
    return flat


def unflatten_params(flat: FlatParams) -> Params:
    """Inverts `flatten_params`."""
    return unflatten_dict(flat, sep=".")


def flat_shapes(model: Model) -> FlatParams:
    """Returns names, shapes and dtypes of a model's parameters, without computing them."""
    return flatten_params(jax.eval_shape(model.init_params, jax.random.key(0)))


def check_params(
    place: str, flat: FlatParams, expected: FlatParams, names: Mapping[str, str]
) -> None:
    """Checks that arrays are the parameters of a model.

    Args:
      place: where the arrays come from, for messages.
      flat: the arrays.
      expected: from `flat_shapes` of the model.
      names: names at that place, by our names, where they differ; for messages.

    Raises:
      InputError: a parameter is missing, unknown or of another shape.
    """
    for name in {**expected, **flat}:
        theirs = names.get(name, name)
        known_as = f"{place}: {theirs}" + f" (here {name})" * (theirs != name)
        if name not in flat:
            raise InputError(known_as, "is missing", _FIX)
        if name not in expected:
            raise InputError(known_as, "is not a parameter of this model", _FIX)
        if flat[name].shape != expected[name].shape:
            rule = f"must be {list(expected[name].shape)} by the config's group model"
            raise InputError(f"{known_as} has shape {list(flat[name].shape)}", rule, _FIX)


def move_rows(
    flat: FlatParams, row_params: Sequence[str], before: Sequence[str], after: Sequence[str]
) -> MovedRows:
    """Reorders the rows of `row_params`, one per token, for another vocabulary.

    A new token gets the mean of all rows (Howard and Ruder 2018, ULMFiT); the row of a token that
    is gone is dropped.
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
        if name in row_params
    }
    return MovedRows({**flat, **moved}, int((rows < 0).sum()))
