"""Numbered checkpoints in a directory, through orbax: asynchronous, atomic, checked.

Each is a directory with `state` (arrays by name), `meta` (its manifest) and `metrics` (what orbax
ranks by). The two latest and the best are kept. Only this file uses orbax.
"""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from awd_jax.errors import InputError, StorageError, one_line
from awd_jax.run import processes
from awd_jax.run.manifest import (
    FIX,
    DamagedError,
    Manifest,
    checksum_arrays,
    seal,
    unseal,
)

_DISCARDED = "discarded"


class Store:
    """The checkpoints in a directory, for one process.

    Args:
      directory: holds the checkpoints; created if it does not exist, unless read-only.
      read_only: changes nothing on disk.

    Raises:
      InputError: no checkpoint has readable metrics; if read-only, one of them has none.
    """

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        self._directory = directory
        self._read_only = read_only
        damaged = _find_unreadable(directory)
        if damaged and (read_only or len(damaged) == len(_numbers(directory))):
            raise next(iter(damaged.values()))
        self.notes = [self._set_aside(number, error) for number, error in damaged.items()]
        self._delete_discarded()
        if not read_only:
            directory.mkdir(parents=True, exist_ok=True)
        policy = ocp.checkpoint_managers
        self._manager = ocp.CheckpointManager(
            directory,
            options=ocp.CheckpointManagerOptions(
                best_fn=_rank,
                best_mode="min",
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(2),  # the older one in case the newer is damaged
                        policy.BestN(get_metric_fn=_rank, reverse=True, n=1),
                    ]
                ),
                create=False,  # orbax cannot, in one of several processes
                cleanup_tmp_directories=not read_only,
                # Moved in one step, then deleted by us: a kill must not leave half a checkpoint.
                todelete_subdir=None if read_only else _DISCARDED,
                read_only=read_only,
                # Otherwise orbax waits for the other processes, which never get here.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    active_processes=None if processes.count() == 1 else {0}
                ),
            ),
        )

    def close(self) -> None:
        """Closes the store. The error of a failed save is raised by `wait`, not here."""
        with contextlib.suppress(Exception):
            self._manager.close()
        self._delete_discarded()

    def write(self, number: int, arrays: dict[str, np.ndarray], manifest: Manifest) -> None:
        """Starts to write a checkpoint.

        Raises:
          StorageError: it or the previous one cannot be written.
        """
        self.wait()
        self._delete_discarded()
        with self._writing():
            self._manager.save(
                number,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(seal(manifest))
                ),
                metrics=manifest.metrics,
            )

    def wait(self) -> None:
        """Waits until the last checkpoint is on disk.

        Raises:
          StorageError: it cannot be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise StorageError(f"checkpoint in {self._directory}", error) from error

    def numbers(self) -> list[int]:
        """Returns the numbers of all checkpoints, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def best_number(self) -> int:
        """Returns the number of the checkpoint with the lowest validation loss.

        Raises:
          InputError: no epoch has ended yet, or the checkpoint was replaced meanwhile.
        """
        self.wait()  # metrics can be read once they are on disk
        number = self._manager.best_step()
        if number is not None:
            with self._reading(number):
                nll = self._manager.metrics(number)["valid_nll"]
            if not math.isinf(nll):
                return number
        raise InputError(
            f"{self._directory}", "holds no finished epoch", "train at least one epoch"
        )

    def describe(self, number: int) -> str:
        """Names a checkpoint in messages."""
        return f"checkpoint {self._directory / str(number)}"

    def read_manifest(self, number: int) -> Manifest:
        """Reads and checks the manifest of a checkpoint.

        Raises:
          InputError: it is damaged (DamagedError), has another format, or was replaced meanwhile.
        """
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        with self._reading(number):
            sealed = self._manager.restore(number, args=args).meta
            return unseal(self.describe(number), sealed, self._manager.metrics(number))

    def read_arrays(self, number: int, manifest: Manifest) -> dict[str, np.ndarray]:
        """Reads and checks all arrays of a checkpoint.

        Raises:
          InputError: they cannot be read, or differ from the manifest's checksums (DamagedError);
            or the checkpoint was replaced meanwhile.
        """
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        with self._reading(number):
            arrays = self._manager.restore(number, args=args).state
            # Orbax restores a flipped bit without complaint, and zeros for a part that is gone.
            crc32 = checksum_arrays(arrays)
            damaged = [name for name in manifest.crc32 if crc32.get(name) != manifest.crc32[name]]
            if damaged:
                rule = f"has a wrong checksum of {', '.join(damaged)}"
                raise DamagedError(self.describe(number), rule, FIX)
            return arrays

    @contextlib.contextmanager
    def _reading(self, number: int) -> Iterator[None]:
        """Says of any error what it means: the run beside a reader may discard what it reads."""
        place = self.describe(number)
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds
            if not (self._directory / str(number)).exists():
                rule, fix = "was replaced while it was read", "run the command again"
                raise InputError(place, rule, fix) from error
            if isinstance(error, InputError):
                raise
            raise DamagedError(place, f"cannot be read ({one_line(error)})", FIX) from error

    def set_aside(self, damaged: dict[int, DamagedError]) -> list[str]:
        """Moves damaged checkpoints out of the way; returns a note about each."""
        notes = [self._set_aside(number, error) for number, error in damaged.items()]
        self._manager.reload()
        return notes

    def _set_aside(self, number: int, error: DamagedError) -> str:
        target = self._directory.parent / f"damaged-{number}-{time.time_ns()}"
        (self._directory / str(number)).rename(target)
        return f"{error}; it is now {target.name}"

    def _delete_discarded(self) -> None:
        if not self._read_only:
            shutil.rmtree(self._directory / _DISCARDED, ignore_errors=True)


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    """Returns a sort key: the lowest loss comes first, then the earliest step."""
    return metrics["valid_nll"], float(metrics["step"])


def _numbers(directory: Path) -> list[int]:
    """Returns the numbers of the checkpoints; any other directory is an unfinished save."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return [int(path.name) for path in paths if path.name.isdigit()]


def _find_unreadable(directory: Path) -> dict[int, DamagedError]:
    """Returns the checkpoints without readable metrics, each with its error.

    Orbax reads all metrics at once, and fails on or skips what it cannot read.
    """
    damaged = {}
    for number in _numbers(directory):
        path = directory / str(number)
        try:
            _rank(json.loads((path / "metrics" / "metrics").read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not path.exists():  # the run that writes here has just discarded it
                continue
            damaged[number] = DamagedError(
                f"checkpoint {path}", f"has no metrics ({one_line(error)})", FIX
            )
    return damaged
