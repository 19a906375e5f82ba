"""Checkpoints of a whole run: its arrays, its progress and its identity.

The number of a checkpoint is the number of windows trained on plus that of epochs validated,
because a run may be saved both before and after a validation.
"""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from awd_jax.errors import InputError, InterruptedRunError, StorageError, one_line
from awd_jax.run import processes
from awd_jax.run.manifest import (
    DamagedError,
    Identity,
    Manifest,
    Progress,
    Validation,
    by_path,
    check_identity,
    checksum_arrays,
)
from awd_jax.run.replicas import local_devices
from awd_jax.run.store import Store


class Restored(NamedTuple):
    """A restored checkpoint, and notes about damaged ones."""

    tree: PyTree  # of arrays on the host
    progress: Progress
    notes: tuple[str, ...]  # only in process 0; empty in the others


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one run. Closing waits for the last save.

    Trees are whole: nothing in them is split over devices or processes. Only process 0 reads and
    writes, and only it needs to see the directory, but every process must call every method. An
    error in process 0 is raised in all processes, and all restore the same values.

    Args:
      directory: holds the checkpoints of the run.
      identity: of the run, checked on every read. None only reads, without that check and without
        changing anything, possibly while the run still trains.

    Raises:
      InputError: no checkpoint has readable metrics. Without an identity: one of them has none,
        or there is no directory.
    """

    def __init__(self, directory: Path, identity: Identity | None = None) -> None:
        directory = directory.absolute()
        self._identity = identity
        self._store: Store  # in process 0
        with processes.together():
            if processes.is_first():
                if identity is None and not directory.is_dir():
                    raise InputError(
                        f"workdir {directory.parent}",
                        "holds no checkpoints",
                        "train first, or give --workdir",
                    )
                local_devices()  # its error is one line if there are none; orbax's is not
                try:
                    self._store = Store(directory, read_only=identity is None)
                except OSError as error:
                    if identity is not None:
                        raise StorageError(str(directory), error) from error
                    rule = f"cannot be read ({one_line(error)})"
                    raise InputError(str(directory), rule, "make it readable") from error

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None or issubclass(kind, InterruptedRunError):  # all processes get here
                self.wait()
            elif processes.is_first() and kind is not StorageError:  # which `save` or `wait` raised
                self._store.wait()
        finally:
            if processes.is_first():
                self._store.close()

    def save(self, tree: PyTree, progress: Progress, validation: Validation | None) -> None:
        """Starts to save; returns as soon as the tree may be donated.

        Args:
          tree: all arrays of the run.
          progress: where to resume.
          validation: of the epoch that ends here; None within an epoch, whose checkpoints are
            never the best.

        Raises:
          ValueError: the checkpoints were opened without an identity.
          StorageError: this save or the previous one failed.
        """
        if self._identity is None:
            raise ValueError("these checkpoints were opened to be read: give an identity to save")
        with processes.together():
            if processes.is_first():
                arrays = by_path(jax.device_get(tree))
                manifest = Manifest(progress, validation, self._identity, checksum_arrays(arrays))
                self._store.write(progress.step + progress.epoch - 1, arrays, manifest)

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          StorageError: the save failed.
        """
        with processes.together():
            if processes.is_first():
                self._store.wait()

    def restore_latest(self, like: PyTree) -> Restored | None:
        """Restores the newest undamaged checkpoint; None if there are no checkpoints yet.

        Newer, damaged ones are moved out of the way, to `damaged-NUMBER-...` next to the
        directory of checkpoints, and are named in the notes.

        Args:
          like: a tree of the same run, or its shapes; its values are not read.

        Raises:
          InputError: all checkpoints are damaged (nothing is moved), or belong to another run.
        """
        found = None
        with processes.together():
            if processes.is_first():
                found = self._restore_latest(like)
        progress = processes.broadcast_json(found and found.progress._asdict())
        if progress is None:
            return None
        tree = processes.broadcast_arrays(like if found is None else found.tree)
        return Restored(tree, Progress(**progress), found.notes if found else ())

    def _restore_latest(self, like: PyTree) -> Restored | None:
        damaged: dict[int, DamagedError] = {}
        for number in self._store.numbers():
            try:
                manifest = self._read_manifest(number)
                tree = self._restore(number, manifest, "", like)
            except DamagedError as error:
                damaged[number] = error
            else:
                notes = (*self._store.notes, *self._store.set_aside(damaged))
                return Restored(tree, manifest.progress, notes)
        if damaged:
            raise next(iter(damaged.values()))
        return None

    def best(self) -> Manifest:
        """Returns the manifest of the checkpoint with the lowest validation loss.

        Raises:
          InputError: no epoch has ended yet, or the checkpoint is damaged.
        """
        content = None
        with processes.together():
            if processes.is_first():
                content = self._read_manifest(self._store.best_number()).to_json()
        return Manifest.from_json(processes.broadcast_json(content))

    def restore_best_params(self, like: PyTree) -> PyTree:
        """Restores the parameters with the lowest validation loss, raw or averaged.

        Args:
          like: parameters of the same model, or their shapes.

        Raises:
          InputError: as `best`; or the parameters have other shapes.
        """
        params = like
        with processes.together():
            if processes.is_first():
                number = self._store.best_number()
                manifest = self._read_manifest(number)
                assert manifest.validation is not None  # the best one has been validated
                params = self._restore(number, manifest, manifest.validation.params, like)
        return processes.broadcast_arrays(params)

    def _read_manifest(self, number: int) -> Manifest:
        manifest = self._store.read_manifest(number)
        if self._identity is not None:
            check_identity(self._store.describe(number), manifest.identity, self._identity)
        return manifest

    def _restore(self, number: int, manifest: Manifest, prefix: str, like: PyTree) -> PyTree:
        """Restores the arrays whose paths are the prefix plus those of `like`, as a tree."""
        arrays = self._store.read_arrays(number, manifest)

        def take(path: Any, leaf: Any) -> np.ndarray:
            name = prefix + jax.tree_util.keystr(path)
            if leaf.size == 0:  # not saved, see `by_path`
                return np.zeros(leaf.shape, leaf.dtype)
            array = arrays.get(name, np.zeros(0))
            if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
                raise InputError(
                    f"{self._store.describe(number)}: {name} is {array.dtype}{array.shape}",
                    f"must be {leaf.dtype}{leaf.shape}",
                    "give the config of that run, or another --workdir",
                )
            return array

        return jax.tree_util.tree_map_with_path(take, like)
