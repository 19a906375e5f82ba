"""Checkpoints of a run in several processes: in the hands of process 0, shared with the others."""

import contextlib
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from awd_jax.errors import InterruptedRunError
from awd_jax.train import processes
from awd_jax.train.checkpoint import Checkpoints, Restored
from awd_jax.train.meta import Identity, Progress
from awd_jax.train.state import TrainState


class SharedCheckpoints(contextlib.AbstractContextManager):
    """As `Checkpoints`, in the same directory and format; only process 0 needs to see it.

    Every method is called by all processes; what fails in process 0 fails in all.
    The carry, which is split by sequence, is gathered to be saved and split again
    when it is restored: on any number of processes and devices.
    """

    def __init__(self, directory: Path, identity: Identity) -> None:
        with processes.together():
            self._own = Checkpoints(directory, identity) if processes.is_first() else None

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if kind is None or issubclass(kind, InterruptedRunError):  # all processes come here
                self.wait()
        finally:
            if self._own is not None:
                self._own.__exit__(kind, *error)

    def save(self, state: TrainState, progress: Progress, valid_nll: float = math.inf) -> None:
        """As `Checkpoints.save`."""
        whole = state._replace(carry=processes.gather_rows(state.carry))
        with processes.together():
            if self._own is not None:
                self._own.save(whole, progress, valid_nll)

    def wait(self) -> None:
        """As `Checkpoints.wait`."""
        with processes.together():
            if self._own is not None:
                self._own.wait()

    def best_loss(self) -> float:
        """As `Checkpoints.best_loss`."""
        with processes.together():
            loss = None if self._own is None else self._own.best_loss()
        return processes.broadcast_json(loss)

    def restore_latest(self, like: TrainState) -> Restored | None:
        """As `Checkpoints.restore_latest`; what there is to say, process 0 is told."""
        whole, restored = _of_all_processes(like), None
        with processes.together():
            if self._own is not None:
                restored = self._own.restore_latest(whole)
        progress = processes.broadcast_json(restored and restored.progress._asdict())
        if progress is None:
            return None
        state = _share(whole if restored is None else restored.state)
        return Restored(state, Progress(**progress), restored.notes if restored else ())

    def restore_best(self, like: TrainState) -> TrainState:
        """As `Checkpoints.restore_best`."""
        state = _of_all_processes(like)
        with processes.together():
            if self._own is not None:
                state = self._own.restore_best(state)
        return _share(state)


def open_checkpoints(directory: Path, identity: Identity) -> Checkpoints | SharedCheckpoints:
    """The checkpoints of a run in a directory, for as many processes as there are.

    Raises:
      RunError: as `Checkpoints`.
    """
    return (Checkpoints if processes.count() == 1 else SharedCheckpoints)(directory, identity)


def _of_all_processes(like: TrainState) -> TrainState:
    """Shapes of a state with the carry of the devices of all processes."""

    def widen(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((len(leaf) * processes.count(), *leaf.shape[1:]), leaf.dtype)

    shapes = jax.eval_shape(lambda state: state, like)
    return shapes._replace(carry=jax.tree.map(widen, like.carry))


def _share(state: TrainState) -> TrainState:
    """The state of process 0, with this process's part of its carry."""
    state = processes.broadcast_arrays(state)

    def own(leaf: np.ndarray) -> np.ndarray:
        return np.split(leaf, processes.count())[jax.process_index()]

    return state._replace(carry=jax.tree.map(own, state.carry))
