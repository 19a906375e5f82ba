"""Checkpoints of a whole run, through orbax: asynchronous, atomic, checked.

Each has a directory with `state` (every array of the run), `meta` (where the run
stands, its config and vocabulary, a checksum of each array and of itself) and
`metrics` (the validation loss). Its name is a number, that of windows trained on
plus that of epochs validated: a run may be saved before a validation and after
it. The two latest are kept, and the best.
"""

import contextlib
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from awd_jax.errors import InputError, StorageError, one_line
from awd_jax.train import processes
from awd_jax.train.checksum import checksum_arrays
from awd_jax.train.meta import (
    FIX,
    DamagedError,
    Identity,
    Progress,
    check_identity,
    checkpoint_paths,
    find_unreadable,
    make_meta,
    rank,
    read_meta,
)
from awd_jax.train.state import TrainState, merge_carry, split_carry

_DISCARDED = "discarded"


class Restored(NamedTuple):
    """A checkpoint, and what there is to say of damaged ones."""

    state: TrainState
    progress: Progress
    notes: tuple[str, ...]


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one run. Closing waits for the last save.

    Args:
      directory: of all its checkpoints.
      identity: of the run. None for a reader, who may come while it still trains
        and takes its checkpoints as they are.

    Raises:
      InputError: no checkpoint has metrics that can be read; or one, for a reader.
    """

    def __init__(self, directory: Path, identity: Identity | None = None) -> None:
        self._directory = directory.absolute()
        self._identity = identity
        read_only = identity is None
        damaged = find_unreadable(self._directory)
        if damaged and (read_only or len(damaged) == len(checkpoint_paths(self._directory))):
            raise next(iter(damaged.values()))
        self._notes = [self._set_aside(path, error) for path, error in damaged.items()]
        self._delete_discarded()
        if not read_only:
            self._directory.mkdir(parents=True, exist_ok=True)
        policy = ocp.checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                best_fn=rank,
                best_mode="min",
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(2),  # the older one, should the newer be damaged
                        policy.BestN(get_metric_fn=rank, reverse=True, n=1),
                    ]
                ),
                create=False,  # orbax cannot, for one of several processes
                cleanup_tmp_directories=not read_only,
                # Moved at once, then deleted by us: a kill must not leave half of a checkpoint.
                todelete_subdir=None if read_only else _DISCARDED,
                read_only=read_only,
                # Of several, process 0 saves and restores alone: see `shared_checkpoints`.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    active_processes=None if processes.count() == 1 else {0}
                ),
            ),
        )

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # A failed save is told once.
        with contextlib.suppress(Exception) if kind is StorageError else self._writing():
            self._manager.close()
            self._delete_discarded()

    def save(self, state: TrainState, progress: Progress, valid_nll: float = math.inf) -> None:
        """Starts to save; returns when the state may be donated.

        Args:
          state: of the run.
          progress: where it goes on.
          valid_nll: of a finished epoch; infinite in the midst of one, which is
            then never the best.

        Raises:
          ValueError: there is no identity.
          StorageError: this save or the one before it failed.
        """
        if self._identity is None:
            raise ValueError("these checkpoints were opened to be read: give an identity to save")
        # Merged, so that a run may go on with another number of devices.
        arrays = jax.device_get(state._replace(carry=merge_carry(state.carry)))
        metrics = {"valid_nll": valid_nll, "step": int(arrays.step)}
        meta = make_meta(arrays, progress, metrics, self._identity)
        with self._writing():
            self._manager.wait_until_finished()
            self._delete_discarded()
            self._manager.save(
                int(arrays.step) + progress.epoch - 1,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays),
                    meta=ocp.args.JsonSave(meta),
                ),
                metrics=metrics,
            )

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          StorageError: it failed.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def _delete_discarded(self) -> None:
        if self._identity is not None:  # a reader leaves everything as it is
            shutil.rmtree(self._directory / _DISCARDED, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any of the layers below
            raise StorageError(f"checkpoint in {self._directory}", error) from error

    def best_loss(self) -> float:
        """The lowest validation loss so far; infinite before the first."""
        self.wait()  # metrics are there once they are on disk
        step = self._manager.best_step()
        return math.inf if step is None else self._manager.metrics(step)["valid_nll"]

    def restore_latest(self, like: TrainState) -> Restored | None:
        """The newest checkpoint that is whole, or None if there is none at all yet.

        A damaged one that is newer moves out of the way, to `damaged-NUMBER-...`
        beside the directory of checkpoints, and is named in the notes.

        Args:
          like: a state of the same run, or its shapes; its values are not read.

        Raises:
          InputError: all are damaged (nothing is moved), or of another run.
        """
        damaged: dict[int, DamagedError] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, progress = self._restore(step, like)
            except DamagedError as error:
                damaged[step] = error
            else:
                self._notes += [
                    self._set_aside(self._directory / str(number), error)
                    for number, error in damaged.items()
                ]
                self._manager.reload()
                return Restored(state, progress, tuple(self._notes))
        if damaged:
            raise next(iter(damaged.values()))
        return None

    def _set_aside(self, path: Path, error: DamagedError) -> str:
        """Moves a damaged checkpoint out of the way; returns what there is to say of it."""
        place = self._directory.parent / f"damaged-{path.name}-{time.time_ns()}"
        path.rename(place)
        return f"{error}; it is now {place.name}"

    def restore_best(self, like: TrainState) -> TrainState:
        """The state with the lowest validation loss.

        Raises:
          InputError: no epoch has ended yet; or as `restore_latest`.
        """
        return self._restore(self._best_step(), like)[0]

    def best_meta(self) -> dict[str, Any]:
        """What lies beside the state of `restore_best`, as `save` wrote it: fields, vocabulary."""
        step = self._best_step()
        return self._restore_meta(f"checkpoint {self._directory / str(step)}", step)

    def _best_step(self) -> int:
        if math.isinf(self.best_loss()):
            raise InputError(
                f"{self._directory}", "holds no finished epoch", "train at least one epoch"
            )
        return self._manager.best_step()

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        place = f"checkpoint {self._directory / str(step)}"
        meta = self._restore_meta(place, step)
        if self._identity is not None:
            check_identity(place, meta, self._identity)
        abstract = jax.eval_shape(lambda s: s._replace(carry=merge_carry(s.carry)), like)
        try:
            state = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            ).state
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise DamagedError(place, f"cannot be read ({one_line(error)})", FIX) from error
        # Orbax restores another shape, and a flipped bit, without complaint.
        for (path, leaf), expected in zip(
            jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(abstract), strict=True
        ):
            if (leaf.shape, leaf.dtype) != (expected.shape, expected.dtype):
                raise InputError(
                    f"{place}: {jax.tree_util.keystr(path)} is {leaf.dtype}{leaf.shape}",
                    f"must be {expected.dtype}{expected.shape}",
                    "give the config of that run, or another --workdir",
                )
        crc32 = checksum_arrays(jax.device_get(state))
        damaged = [name for name in crc32 if crc32[name] != meta["crc32"][name]]
        if damaged:
            raise DamagedError(place, f"has a wrong checksum of {', '.join(damaged)}", FIX)
        state = state._replace(carry=split_carry(state.carry, like.carry[0].h.shape[0]))
        return state, Progress(**meta["progress"])

    def _restore_meta(self, place: str, step: int) -> dict[str, Any]:
        args = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return read_meta(
            place,
            lambda: self._manager.restore(step, args=args).meta,
            self._manager.metrics(step),
        )
