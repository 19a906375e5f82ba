"""Files of named arrays: safetensors, and those that PyTorch saves."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from awd_jax.errors import InputError, one_line
from awd_jax.files import whole_file

_SAFE = ".safetensors"


class WeightsFile(NamedTuple):
    """The content of a weights file."""

    arrays: dict[str, np.ndarray]  # float32
    metadata: dict[str, str]  # only in safetensors; otherwise empty


def read_weights(path: Path) -> WeightsFile:
    """Reads a file according to its name: `.safetensors`, or anything else as a PyTorch file.

    A PyTorch file holds a state_dict, or a dict with one as "model", which fastai saves together
    with its optimizer. torch's safe loader reads it, which runs no code of the file.

    Raises:
      InputError: the file is missing or damaged, it holds more than arrays of finite floating point
        numbers, or torch is needed and not installed.
    """
    if not path.is_file():
        raise InputError(
            f"weights {str(path)!r}", "is not a file", "give one as --config.import_model.path"
        )
    weights = _read_safetensors(path) if path.suffix == _SAFE else _read_torch(path)
    arrays = {name: _to_float32(path, name, a) for name, a in weights.arrays.items()}
    return weights._replace(arrays=arrays)


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
    """Writes a safetensors file, whole or not at all.

    Raises:
      OSError: it cannot be written.
    """
    # safetensors writes the memory of an array as is, whatever its strides.
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with whole_file(path) as file:
        file.write(safetensors.numpy.save(contiguous, metadata))


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return WeightsFile(arrays, file.metadata() or {})
    except Exception as error:  # from safetensors, or a dtype that numpy lacks
        raise InputError(
            f"weights {path}", f"cannot be read ({one_line(error)})", "give a whole file"
        ) from error


def _read_torch(path: Path) -> WeightsFile:
    try:
        import torch
    except ImportError as error:
        fix = f"pip install 'awd_jax[torch]', or convert the file to {_SAFE}"
        raise InputError(
            f"weights {path}", f"has to be read by torch, which is missing ({error})", fix
        ) from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"weights {path}",
            "holds pickled objects, which could run any code",
            "where it comes from, load it and torch.save(model.state_dict(), ...); Transformer-XL "
            "saves the model, awd-lstm-lm a list [model, criterion, optimizer]",
        ) from error
    except Exception as error:  # torch raises many kinds
        raise InputError(
            f"weights {path}", f"cannot be read ({one_line(error)})", "give a whole file of torch"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise InputError(
            f"weights {path}",
            "is not a dict of tensors",
            "save a state_dict: torch.save(model.state_dict(), ...)",
        )
    return WeightsFile(
        {
            # numpy lacks bfloat16.
            name: (value.float() if value.is_floating_point() else value).detach().numpy()
            for name, value in content.items()
        },
        {},
    )


def _to_float32(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    # PyTorch's batch normalisation counts its batches in an int64.
    is_count = name.endswith("num_batches_tracked")
    if not (is_count or jnp.issubdtype(array.dtype, jnp.floating)):
        raise InputError(
            f"weights {path}: {name} is {array.dtype}", "must be floating point", "give a model"
        )
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
        array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"weights {path}: {name}",
            "has numbers that are not finite in float32",
            "give a model that was saved before it diverged",
        )
    return array
