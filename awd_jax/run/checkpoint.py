"""Checkpoints of a whole run: its tree of arrays, where it stands, whose it is.

A checkpoint has a number, that of windows trained on plus that of epochs validated: a
run may be saved before a validation and after it.
"""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from awd_jax.errors import InputError, InterruptedRunError, StorageError
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
    """A checkpoint, and what there is to say of damaged ones."""

    tree: PyTree  # of arrays on the host
    progress: Progress
    notes: tuple[str, ...]  # in process 0; else there are none


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one run. Closing waits for the last save.

    Trees are whole: nothing in them is split over devices or processes. Of several
    processes, 0 alone reads and writes, and needs to see the directory; but all call every
    method. What fails in process 0 fails in all; what is restored is the same in all.

    Args:
      directory: of all its checkpoints.
      identity: of the run. None for a reader, who may come while it still trains
        and takes its checkpoints as they are.

    Raises:
      InputError: no checkpoint has metrics that can be read. For a reader: one has not, or
        there is no directory.
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
                local_devices()  # says in one line if there are none, which orbax does not
                self._store = Store(directory, read_only=identity is None)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None or issubclass(kind, InterruptedRunError):  # all processes come here
                self.wait()
            elif processes.is_first() and kind is not StorageError:  # which has been told
                self._store.wait()
        finally:
            if processes.is_first():
                self._store.close()

    def save(self, tree: PyTree, progress: Progress, validation: Validation | None) -> None:
        """Starts to save; returns when the tree may be donated.

        Args:
          tree: all arrays of the run.
          progress: where it goes on.
          validation: of the epoch that ends here; None in the midst of one, which is then
            never the best.

        Raises:
          ValueError: there is no identity.
          StorageError: this save or the one before it failed.
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
          StorageError: it failed.
        """
        with processes.together():
            if processes.is_first():
                self._store.wait()

    def restore_latest(self, like: PyTree) -> Restored | None:
        """The newest checkpoint that is whole, or None if there is none at all yet.

        A damaged one that is newer moves out of the way, to `damaged-NUMBER-...`
        beside the directory of checkpoints, and is named in the notes.

        Args:
          like: a tree of the same run, or its shapes; its values are not read.

        Raises:
          InputError: all are damaged (nothing is moved), or of another run.
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
        """What is known of the checkpoint with the lowest validation loss.

        Raises:
          InputError: no epoch has ended yet; or the checkpoint is damaged.
        """
        content = None
        with processes.together():
            if processes.is_first():
                content = self._read_manifest(self._store.best_number()).to_json()
        return Manifest.from_json(processes.broadcast_json(content))

    def restore_best_params(self, like: PyTree) -> PyTree:
        """The parameters that had the lowest validation loss, from wherever the tree has them.

        Args:
          like: parameters of the same model, or their shapes.

        Raises:
          InputError: as `best`; or they have other shapes.
        """
        params = like
        with processes.together():
            if processes.is_first():
                number = self._store.best_number()
                manifest = self._read_manifest(number)
                assert manifest.validation is not None  # for it is the best
                params = self._restore(number, manifest, manifest.validation.params, like)
        return processes.broadcast_arrays(params)

    def _read_manifest(self, number: int) -> Manifest:
        manifest = self._store.read_manifest(number)
        if self._identity is not None:
            check_identity(self._store.describe(number), manifest.identity, self._identity)
        return manifest

    def _restore(self, number: int, manifest: Manifest, prefix: str, like: PyTree) -> PyTree:
        """A tree of the arrays whose paths are those of `like`, after the prefix."""
        arrays = self._store.read_arrays(number, manifest)

        def take(path: Any, leaf: Any) -> np.ndarray:
            name = prefix + jax.tree_util.keystr(path)
            if leaf.size == 0:
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
