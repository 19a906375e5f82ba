"""Checkpoints of a whole run, through orbax: asynchronous, atomic, checked.

Each step's directory holds `state` (every array of the run), `meta` (where the
run stands, its config and vocabulary, a checksum of each array and of itself)
and `metrics` (the validation loss). The two latest are kept, and the best.
"""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from awd_jax.errors import InputError, one_line
from awd_jax.train.checksum import checksum_arrays, checksum_json
from awd_jax.train.state import TrainState, merge_carry, split_carry
from awd_jax.train.workdir import check_same

FORMAT = 1
_FIX = "restore it from a copy, or start anew with another --workdir"


class Progress(NamedTuple):
    """Where a run stands: everything else follows from (seed, step)."""

    epoch: int  # from 1 on
    window: int  # the next of this epoch
    log_bytes: int  # length of the metrics log


class Restored(NamedTuple):
    """A checkpoint, and what there is to say of newer ones that are damaged."""

    state: TrainState
    progress: Progress
    notes: tuple[str, ...]


class _DamagedError(InputError):
    pass


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one run. Closing waits for the last save.

    Args:
      directory: of all its checkpoints.
      fields: what `workdir.describe` says of the run; must be that of the checkpoints.
      vocabulary: tokens in the order of their ids; must be that of the checkpoints.
      read_only: for a reader beside a run that may still be training.

    Raises:
      InputError: the metrics of a checkpoint cannot be read.
    """

    def __init__(
        self,
        directory: Path,
        fields: dict[str, Any],
        vocabulary: tuple[str, ...],
        read_only: bool = False,
    ) -> None:
        self._directory = directory.absolute()
        self._fields = fields
        self._vocabulary = vocabulary
        _check_metrics(self._directory)
        policy = ocp.checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                best_fn=_rank,
                best_mode="min",
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(2),  # the older one, should the newer be damaged
                        policy.BestN(get_metric_fn=_rank, reverse=True, n=1),
                    ]
                ),
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def save(self, state: TrainState, progress: Progress, valid_nll: float = math.inf) -> None:
        """Starts to save; returns when the state may be donated.

        Args:
          state: of the run.
          progress: where it goes on.
          valid_nll: of a finished epoch; infinite in the midst of one, which is
            then never the best.
        """
        # Merged, so that a run may go on with another number of devices.
        arrays = jax.device_get(state._replace(carry=merge_carry(state.carry)))
        metrics = {"valid_nll": valid_nll, "step": int(arrays.step)}
        meta = {
            "format": FORMAT,
            "progress": progress._asdict(),
            "metrics": metrics,
            "fields": self._fields,
            "vocabulary": self._vocabulary,
            "crc32": checksum_arrays(arrays),
        }
        self._manager.save(
            int(arrays.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                meta=ocp.args.JsonSave({"content": meta, "crc32": checksum_json(meta)}),
            ),
            metrics=metrics,
        )

    def wait(self) -> None:
        """Waits until the last save is on disk."""
        self._manager.wait_until_finished()

    def best_loss(self) -> float:
        """The lowest validation loss so far; infinite before the first."""
        self.wait()  # metrics are there once they are on disk
        step = self._manager.best_step()
        return math.inf if step is None else self._manager.metrics(step)["valid_nll"]

    def restore_latest(self, like: TrainState) -> Restored | None:
        """The newest checkpoint that is whole, or None if there is none at all yet.

        A damaged one that is newer moves out of the way, to `damaged-STEP-...`
        beside the directory of checkpoints, and is named in the notes.

        Args:
          like: a state of the same run, or its shapes; its values are not read.

        Raises:
          InputError: all are damaged (nothing is moved), or of another run.
        """
        damaged: dict[int, _DamagedError] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, progress = self._restore(step, like)
            except _DamagedError as error:
                damaged[step] = error
            else:
                for bad_step in damaged:
                    path = self._directory / str(bad_step)
                    path.rename(self._directory.parent / f"damaged-{bad_step}-{time.time_ns()}")
                self._manager.reload()
                notes = tuple(f"{error}; using step {step}" for error in damaged.values())
                return Restored(state, progress, notes)
        if damaged:
            raise next(iter(damaged.values()))
        return None

    def restore_best(self, like: TrainState) -> TrainState:
        """The state with the lowest validation loss.

        Raises:
          InputError: no epoch has ended yet; or as `restore_latest`.
        """
        if math.isinf(self.best_loss()):
            raise InputError(
                f"{self._directory}", "holds no finished epoch", "train at least one epoch"
            )
        return self._restore(self._manager.best_step(), like)[0]

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        place = f"checkpoint {self._directory / str(step)}"
        meta = self._restore_meta(place, step)
        check_same(place, meta["fields"], self._fields)
        if tuple(meta["vocabulary"]) != self._vocabulary:
            raise InputError(
                f"{place} has another vocabulary of {len(meta['vocabulary'])} tokens",
                f"must be that of the corpus, {len(self._vocabulary)} tokens",
                "use the corpus of that run, or another workdir",
            )
        abstract = jax.eval_shape(lambda s: s._replace(carry=merge_carry(s.carry)), like)
        try:
            state = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            ).state
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise _DamagedError(place, f"cannot be read ({one_line(error)})", _FIX) from error
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
            raise _DamagedError(place, f"has a wrong checksum of {', '.join(damaged)}", _FIX)
        state = state._replace(carry=split_carry(state.carry, like.carry[0].h.shape[0]))
        return state, Progress(**meta["progress"])

    def _restore_meta(self, place: str, step: int) -> dict[str, Any]:
        try:
            meta = self._manager.restore(
                step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            ).meta
            content, crc32 = meta["content"], meta["crc32"]
        except Exception as error:  # of orbax, or of a file with other content
            raise _DamagedError(place, f"cannot be read ({one_line(error)})", _FIX) from error
        if crc32 != checksum_json(content):
            raise _DamagedError(place, "has a wrong checksum of its meta", _FIX)
        if content["metrics"] != self._manager.metrics(step):
            raise _DamagedError(place, "has other metrics than its meta says", _FIX)
        if content["format"] != FORMAT:
            raise InputError(
                f"{place} has format {content['format']}",
                f"must be {FORMAT}",
                "use another workdir",
            )
        return content


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    """The best comes first: the lowest loss, and the earliest of equal ones."""
    return metrics["valid_nll"], float(metrics["step"])


def _check_metrics(directory: Path) -> None:
    """Orbax reads all metrics at once, and fails at or passes over what it cannot read."""
    for step in directory.iterdir() if directory.is_dir() else ():
        if not step.name.isdigit():
            continue  # a save that was cut off
        try:
            _rank(json.loads((step / "metrics" / "metrics").read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = f"restore it from a copy, or move {step} away to go on from another one"
            raise InputError(
                f"checkpoint {step}", f"has no metrics ({one_line(error)})", fix
            ) from error
