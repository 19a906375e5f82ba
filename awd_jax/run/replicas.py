"""The devices that a run uses, and which sequences each process has on its own."""

import os

import jax
import numpy as np
from jaxtyping import Int32
from ml_collections import ConfigDict

from awd_jax.errors import InputError, one_line

# Settings of jax for debugging with which nothing of ours can run.
_UNUSABLE = {
    "jax_debug_infs": "infinity stands for a loss not yet known and a token not to be drawn",
    "jax_transfer_guard": "windows and keys are put on the device where they are used",
    "jax_transfer_guard_host_to_device": "windows and keys are put there where they are used",
    "jax_transfer_guard_device_to_host": "losses are read where they are reported",
    "jax_no_execution": "nothing would be computed",
    "jax_no_tracing": "nothing could be compiled",
}


def local_devices() -> list[jax.Device]:
    """The devices of this process.

    Raises:
      InputError: jax finds none, or has a setting with which nothing of ours can run.
    """
    for name, why in _UNUSABLE.items():
        value = getattr(jax.config, name)
        if value is True or str(value).startswith("disallow"):
            raise InputError(f"{name.upper()}={value}", f"cannot be used: {why}", "unset it")
    try:
        return jax.local_devices()
    except Exception as error:  # jax raises RuntimeError, AssertionError and others
        fix = "check that setting and the installation of jax"
        value = f"jax with JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}"
        raise InputError(value, f"finds no device ({one_line(error)})", fix) from error


def choose_devices(config: ConfigDict) -> list[jax.Device]:
    """The devices that the config's group `train` asks for: of all processes, process 0 first.

    Raises:
      InputError: there are not so many, or jax finds none.
    """
    devices = local_devices()
    if config.num_devices > len(devices):
        raise InputError(
            f"config.train.num_devices = {config.num_devices}",
            f"this machine has {len(devices)}",
            "ask for fewer, or for 0 to use all",
        )
    # By process, not by id: on a pod the ids of neighbours may lie in several processes.
    processes = range(jax.process_count())
    return [d for p in processes for d in jax.local_devices(p)[: config.num_devices or None]]


def num_local(devices: list[jax.Device]) -> int:
    """How many of the devices are those of this process."""
    return sum(device.process_index == jax.process_index() for device in devices)


def describe_devices(devices: list[jax.Device]) -> str:
    """How many there are, of what kind, in how many processes."""
    where = f" in {jax.process_count()} processes" * (jax.process_count() > 1)
    return f"{len(devices)} {jax.default_backend()}{where}"


def own_sequences(
    stream: Int32[np.ndarray, "rows B"], devices: list[jax.Device]
) -> Int32[np.ndarray, "rows own"]:
    """The sequences of this process: a view, so that no other is read.

    Where the devices do not divide B, it is as if there were more sequences at
    the end: a process has fewer than its devices could share, or none.
    """
    return stream[:, share(stream.shape[1], len(devices), num_local(devices), jax.process_index())]


def share(num_sequences: int, num_devices: int, num_local: int, process: int) -> slice:
    """The sequences of a process that has `num_local` of the devices."""
    size = -(-num_sequences // num_devices) * num_local
    return slice(process * size, (process + 1) * size)


def check_batch(config: ConfigDict, num_devices: int) -> None:
    """Checks that the devices of all processes share the training batch evenly.

    Raises:
      InputError: they do not; it names the nearest batch sizes that would do.
    """
    over = config.batch_size % num_devices
    if over:
        lower = config.batch_size - over
        sizes = f"{lower} or {lower + num_devices}" if lower else f"{num_devices}"
        shared = f" of {jax.process_count()} processes" * (jax.process_count() > 1)
        raise InputError(
            f"config.train.batch_size = {config.batch_size}",
            f"must be a multiple of the {num_devices} devices{shared}",
            f"set --config.train.num_devices (of each process) so that they divide it, "
            f"or in a new run the batch size to {sizes}",
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
