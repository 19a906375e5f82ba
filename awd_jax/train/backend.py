"""Whether the backend of a cell can run on the devices that jax has found."""

import jax
from ml_collections import ConfigDict

from awd_jax.errors import InputError


def check_backend(config: ConfigDict) -> None:
    """Checks that the backend of the config's group `model`, if it has one, can run here.

    Raises:
      InputError: cuDNN is asked for without a GPU, or with a dtype other than float32.
    """
    if "backend" not in config or config.backend != "cudnn":
        return
    fix = "leave it at auto, or set it to fast"
    if jax.default_backend() != "gpu":
        rule = f"needs a GPU, and jax runs on {jax.default_backend()} here"
        raise InputError("config.model.backend = cudnn", rule, fix)
    if config.dtype != "float32":
        rule = f"computes in float32, and config.model.dtype = {config.dtype}"
        raise InputError("config.model.backend = cudnn", rule, fix)
