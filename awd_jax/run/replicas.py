"""The devices of a run and their array axis, which only this file handles.

Every leaf of a carry has the batch axis B first. Every array of a batch has B second, and every
scalar belongs to the whole batch. Over n devices, B becomes two axes, n and B / n.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree
from ml_collections import ConfigDict

from awd_jax.errors import InputError, one_line
from awd_jax.run import processes

AXIS = "replicas"  # axis name, for collectives over the replicas

# Debugging settings of jax with which this program cannot run, and why.
_UNUSABLE = {
    "jax_debug_infs": "infinity stands for a loss not yet known and a token not to be drawn",
    "jax_transfer_guard": "windows and keys are put on the device where they are used",
    "jax_transfer_guard_host_to_device": "windows and keys are put there where they are used",
    "jax_transfer_guard_device_to_host": "losses are read where they are reported",
    "jax_no_execution": "nothing would be computed",
    "jax_no_tracing": "nothing could be compiled",
}


def local_devices() -> list[jax.Device]:
    """Returns the devices of this process.

    Raises:
      InputError: jax finds none, or has a setting with which this program cannot run.
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


def choose_replicas(config: ConfigDict) -> "Replicas":
    """Returns the devices that the config's group `train` asks for, process 0's first.

    Raises:
      InputError: this process has fewer, or jax finds none.
    """
    devices = local_devices()
    if config.num_devices > len(devices):
        raise InputError(
            f"config.train.num_devices = {config.num_devices}",
            f"this machine has {len(devices)}",
            "ask for fewer, or for 0 to use all",
        )
    # By process, not by id: on a pod, neighbouring ids may belong to different processes.
    places = range(jax.process_count())
    return Replicas([d for p in places for d in jax.local_devices(p)[: config.num_devices or None]])


class Replicas:
    """Devices that run one program, each on its own part of every batch.

    Every process has the same number of them; sequences are assigned in the order of processes.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.devices = tuple(devices)
        self.count = len(self.devices)
        own = jax.process_index()
        self.num_local = sum(device.process_index == own for device in self.devices)
        self._identities: dict[Any, Callable] = {}
        self._max = self.pmap(lambda row: jax.lax.pmax(row, AXIS), (0,), None, ())

    def describe(self) -> str:
        """Says how many devices there are, of what kind, in how many processes."""
        where = f" in {jax.process_count()} processes" * (jax.process_count() > 1)
        return f"{self.count} {jax.default_backend()}{where}"

    def check_batch(self, config: ConfigDict) -> None:
        """Checks that the devices divide the batch of the config's group `train`.

        Raises:
          InputError: they do not; names the nearest batch sizes that they divide.
        """
        over = config.batch_size % self.count
        if over:
            lower = config.batch_size - over
            sizes = f"{lower} or {lower + self.count}" if lower else f"{self.count}"
            shared = f" of {jax.process_count()} processes" * (jax.process_count() > 1)
            raise InputError(
                f"config.train.batch_size = {config.batch_size}",
                f"must be a multiple of the {self.count} devices{shared}",
                f"set --config.train.num_devices (of each process) so that they divide it, "
                f"or in a new run the batch size to {sizes}",
            )

    def width(self, batch_size: int) -> int:
        """Returns how many sequences the devices of this process hold, idle ones included."""
        return -(-batch_size // self.count) * self.num_local

    def share(self, batch_size: int) -> slice:
        """Returns which sequences of the batch belong to this process.

        If the devices do not divide B, the slices of the last processes reach past the end of
        the batch: they get fewer sequences than their width, or none.
        """
        start = jax.process_index() * self.width(batch_size)
        return slice(start, start + self.width(batch_size))

    def split(self, batch: PyTree, width: int) -> PyTree:
        """Splits this process's part of a batch: [T, B, ...] to [n, T, width / n, ...].

        Pads it to `width` with idle sequences of zeros, whose weights are therefore 0. Every
        device gets all scalars, as they belong to the whole batch.
        """
        n = self.num_local

        def split_array(array: Any) -> Any:
            if np.ndim(array) == 0:
                return np.broadcast_to(array, n)
            length, own, *rest = array.shape
            wide = np.zeros((length, width, *rest), array.dtype)
            wide[:, :own] = array
            return np.moveaxis(wide.reshape(length, n, width // n, *rest), 1, 0)

        return jax.tree.map(split_array, batch)

    def split_carry(self, carry: PyTree) -> PyTree:
        """Splits this process's carry over its devices: [B, ...] to [n, B / n, ...]."""
        n = self.num_local
        # Not -1, which is ambiguous for a leaf without elements, such as [B, 0, D].
        return jax.tree.map(lambda s: s.reshape(n, len(s) // n, *s.shape[1:]), carry)

    def merge_carry(self, carry: PyTree) -> PyTree:
        """Inverts `split_carry`; the result is the same for any number of devices."""
        return jax.tree.map(lambda s: s.reshape(s.shape[0] * s.shape[1], *s.shape[2:]), carry)

    def gather_carry(self, carry: PyTree) -> PyTree:
        """Returns the whole carry of all processes, on the host of each, from split ones."""
        return processes.gather_rows(self.merge_carry(jax.device_get(carry)))

    def scatter_carry(self, carry: PyTree) -> PyTree:
        """Inverts `gather_carry`, for any number of processes and devices."""
        return self.split_carry(jax.tree.map(lambda s: s[self.share(len(s))], carry))

    def put(self, tree: PyTree, axes: Any, *, donate: bool) -> PyTree:
        """Puts a tree on the devices, in the layout that programs with these axes are compiled for.

        A program is compiled for the placement of its arguments: any state that is not the output
        of a step must pass through here, or the step is compiled again for it.

        Args:
          tree: arrays, already split where `axes` has an axis.
          axes: the device axis of each array, or None; a prefix of the tree.
          donate: whether the arrays may be donated; a single device then copies nothing.
        """
        is_donated = donate and self.count == 1  # several devices need copies
        key = (jax.tree.structure(axes), *jax.tree.leaves(axes), is_donated)
        if key not in self._identities:
            given = (0,) if is_donated else ()
            self._identities[key] = self.pmap(lambda tree, _: tree, (axes, 0), axes, given)
        # The zeros: pmap needs an argument with the axis, and an empty carry has none.
        return self._identities[key](tree, np.zeros(self.num_local))

    def most(self, votes: Int[np.ndarray, "k"]) -> Int[jax.Array, "k"]:
        """Returns the elementwise maximum of all processes' votes, without waiting for them."""
        return self._max(np.tile(votes, (self.num_local, 1)))

    def pmap(
        self, function: Callable, in_axes: tuple, out_axes: Any, donate: tuple[int, ...]
    ) -> Callable:
        """Maps a function over the devices by `jax.pmap`, with AXIS as the axis name."""
        return jax.pmap(
            function,
            axis_name=AXIS,
            devices=self.devices,
            in_axes=in_axes,
            out_axes=out_axes,
            donate_argnums=donate,
        )
