"""The devices that a run uses."""

import jax
from ml_collections import ConfigDict

from awd_jax.errors import InputError


def choose_devices(config: ConfigDict) -> list[jax.Device]:
    """The devices to train on.

    Args:
      config: the group `train`.

    Raises:
      InputError: there are not so many, or they do not divide the batch.
    """
    devices = jax.local_devices()
    if config.num_devices > len(devices):
        raise InputError(
            f"config.train.num_devices = {config.num_devices}",
            f"this machine has {len(devices)}",
            "ask for fewer, or for 0 to use all",
        )
    devices = devices[: config.num_devices or len(devices)]
    missing = -config.batch_size % len(devices)
    if missing:
        raise InputError(
            f"config.train.batch_size = {config.batch_size}",
            f"must be a multiple of the {len(devices)} devices",
            f"set it to {config.batch_size + missing}, or --config.train.num_devices to fewer",
        )
    return devices
