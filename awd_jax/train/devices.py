"""The devices that a run uses."""

import jax
from ml_collections import ConfigDict

from awd_jax.errors import InputError, one_line


def choose_devices(config: ConfigDict) -> list[jax.Device]:
    """The devices that the config's group `train` asks for.

    Raises:
      InputError: there are not so many, or jax finds none.
    """
    try:
        devices = jax.local_devices()
    except RuntimeError as error:
        fix = "check JAX_PLATFORMS and the installation of jax"
        raise InputError("jax", one_line(error), fix) from error
    if config.num_devices > len(devices):
        raise InputError(
            f"config.train.num_devices = {config.num_devices}",
            f"this machine has {len(devices)}",
            "ask for fewer, or for 0 to use all",
        )
    return devices[: config.num_devices or len(devices)]


def check_batch(config: ConfigDict, num_devices: int) -> None:
    """Checks that the devices share the training batch evenly.

    Raises:
      InputError: they do not.
    """
    missing = -config.batch_size % num_devices
    if missing:
        raise InputError(
            f"config.train.batch_size = {config.batch_size}",
            f"must be a multiple of the {num_devices} devices",
            f"set --config.train.num_devices to a number that divides it, "
            f"or in a new run the batch size to {config.batch_size + missing}",
        )


def check_backend(config: ConfigDict) -> None:
    """Checks that the LSTM of the config's group `model` can run on these devices.

    Raises:
      InputError: cuDNN is asked for where there is no GPU, or for other than float32.
    """
    if config.lstm_backend != "cudnn":
        return
    fix = "leave it at auto, or set it to fast"
    if jax.default_backend() != "gpu":
        rule = f"needs a GPU, and jax runs on {jax.default_backend()} here"
        raise InputError("config.model.lstm_backend = cudnn", rule, fix)
    if config.dtype != "float32":
        rule = f"computes in float32, and config.model.dtype = {config.dtype}"
        raise InputError("config.model.lstm_backend = cudnn", rule, fix)
