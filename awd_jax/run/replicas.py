"""The devices of a run and their axis, which nobody else knows.

Every leaf of a carry has B, the sequences of the batch, first. Every array of a batch has B second,
and every scalar of it belongs to the whole batch. Over n devices B becomes two axes, n and B / n.
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

AXIS = "replicas"  # by which a function knows of the other replicas

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


def choose_replicas(config: ConfigDict) -> "Replicas":
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
    places = range(jax.process_count())
    return Replicas([d for p in places for d in jax.local_devices(p)[: config.num_devices or None]])


class Replicas:
    """Devices that run one program, each on its own part of every batch.

    Every process has equally many of them, and sequences in the order of the processes.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.devices = tuple(devices)
        self.count = len(self.devices)
        own = jax.process_index()
        self.num_local = sum(device.process_index == own for device in self.devices)
        self._identities: dict[Any, Callable] = {}
        self._max = self.pmap(lambda row: jax.lax.pmax(row, AXIS), (0,), None, ())

    def describe(self) -> str:
        """How many there are, of what kind, in how many processes."""
        where = f" in {jax.process_count()} processes" * (jax.process_count() > 1)
        return f"{self.count} {jax.default_backend()}{where}"

    def check_batch(self, config: ConfigDict) -> None:
        """Checks that the devices share the batch of the config's group `train` evenly.

        Raises:
          InputError: they do not; it names the nearest batch sizes that would do.
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
        """How many sequences the devices of this process take, idle ones among them."""
        return -(-batch_size // self.count) * self.num_local

    def share(self, batch_size: int) -> slice:
        """The sequences of this process.

        Where the devices do not divide B, it is as if there were more sequences at the end: a
        process has fewer than its width, or none.
        """
        start = jax.process_index() * self.width(batch_size)
        return slice(start, start + self.width(batch_size))

    def split(self, batch: PyTree, width: int) -> PyTree:
        """This process's part of a batch over its devices: [T, B, ...] to [T, n, width / n, ...].

        Idle sequences, all zeros, fill it up to `width`: so their weights are 0.
        """

        def split_array(array: Any) -> Any:
            if np.ndim(array) == 0:
                return array
            length, own, *rest = array.shape
            idle = [(0, 0), (0, width - own), *((0, 0) for _ in rest)]
            shape = (length, self.num_local, width // self.num_local, *rest)
            return np.pad(array, idle).reshape(shape)

        return jax.tree.map(split_array, batch)

    def split_carry(self, carry: PyTree) -> PyTree:
        """This process's carry over its devices: [B, ...] to [n, B / n, ...]."""
        n = self.num_local
        # Sizes in full: of a leaf without elements, such as [B, 0, D], -1 could be anything.
        return jax.tree.map(lambda s: s.reshape(n, len(s) // n, *s.shape[1:]), carry)

    def merge_carry(self, carry: PyTree) -> PyTree:
        """The inverse of `split_carry`: the same for any number of devices."""
        return jax.tree.map(lambda s: s.reshape(s.shape[0] * s.shape[1], *s.shape[2:]), carry)

    def gather_carry(self, carry: PyTree) -> PyTree:
        """A split carry as the whole one of all processes, on the host of each."""
        return processes.gather_rows(self.merge_carry(jax.device_get(carry)))

    def scatter_carry(self, carry: PyTree) -> PyTree:
        """The inverse of `gather_carry`, for any number of processes and devices."""
        return self.split_carry(jax.tree.map(lambda s: s[self.share(len(s))], carry))

    def put(self, tree: PyTree, axes: Any, *, donate: bool) -> PyTree:
        """The tree on the devices, in the layout that programs with these axes are compiled for.

        Where an array lies is part of what a program is compiled for: what did not come out of a
        step must pass through here, or the step is compiled again for it.

        Args:
          tree: of arrays, split already where `axes` has an axis.
          axes: the axis of devices of each array, or None; a prefix of the tree.
          donate: whether the arrays may be taken: then nothing is copied for a single device.
        """
        is_donated = donate and self.count == 1  # what goes to several must be copied
        key = (jax.tree.structure(axes), *jax.tree.leaves(axes), is_donated)
        if key not in self._identities:
            given = (0,) if is_donated else ()
            self._identities[key] = self.pmap(lambda tree, _: tree, (axes, 0), axes, given)
        # pmap needs an argument with the axis, which a tree with an empty carry has not.
        return self._identities[key](tree, np.zeros(self.num_local))

    def most(self, votes: Int[np.ndarray, "k"]) -> Int[jax.Array, "k"]:
        """The largest of all processes' votes, each for itself. It does not wait for them."""
        return self._max(np.tile(votes, (self.num_local, 1)))

    def pmap(
        self, function: Callable, in_axes: tuple, out_axes: Any, donate: tuple[int, ...]
    ) -> Callable:
        """The function on every device at once, as `jax.pmap` has it, under the name AXIS."""
        return jax.pmap(
            function,
            axis_name=AXIS,
            devices=self.devices,
            in_axes=in_axes,
            out_axes=out_axes,
            donate_argnums=donate,
        )
