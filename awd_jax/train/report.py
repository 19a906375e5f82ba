"""What a run tells: a metrics log, TensorBoard, a bar on a terminal, a line an epoch."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar
from tqdm import tqdm

from awd_jax.core import losses
from awd_jax.errors import StorageError
from awd_jax.train import processes


def describe_nll(nll: float, level: str) -> str:
    """A mean NLL in nats per token, in the unit that the field uses for such tokens."""
    if level == "word":
        return f"perplexity {losses.perplexity(nll):.2f}"
    return f"{losses.bits_per_token(nll):.4f} bits"


class Report(contextlib.AbstractContextManager):
    """The reports of one run, in its workdir.

    `metrics.jsonl` holds what the run computed, one JSON object a line: the
    same, bit for bit, however often the run was stopped and resumed. What
    depends on the machine is in `timing.jsonl`. TensorBoard shows both, with what
    was computed twice shown twice.

    Raises:
      StorageError: a file cannot be written.
    """

    def __init__(self, workdir: Path) -> None:
        tensorboard = workdir / "tensorboard"
        try:
            self._metrics = (workdir / "metrics.jsonl").open("ab")
            self._timing = (workdir / "timing.jsonl").open("ab")
            tensorboard.mkdir(exist_ok=True)
            # Not SummaryWriter: its thread ends on a full disk, and then its queue blocks for ever.
            self._tensorboard = EventsWriter(str(tensorboard / "events"))
        except OSError as error:
            raise StorageError(str(error.filename), error) from error

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        self._timing.close()
        self._tensorboard.close()

    def rewind(self, log_bytes: int) -> None:
        """Drops what the metrics log holds behind a checkpoint: it will be computed again."""
        if self.log_bytes < log_bytes:
            self.say(f"{self._metrics.name} has lost lines: it goes on where it ends")
        self._metrics.truncate(min(log_bytes, self.log_bytes))
        self._metrics.seek(0, os.SEEK_END)

    @property
    def log_bytes(self) -> int:
        """Length of the metrics log."""
        return self._metrics.tell()

    def metrics(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a line to the metrics log, on disk when this returns."""
        with processes.together():
            self._add(self._metrics, step, values)

    def timing(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a line to the log of what depends on the machine."""
        with processes.together():
            self._add(self._timing, step, values)

    def _add(self, file: BinaryIO, step: int, values: Mapping[str, float | int]) -> None:
        try:
            file.write(json.dumps({"step": step, **values}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            for name, value in values.items():
                self._tensorboard.write_event(
                    Event(wall_time=time.time(), step=step, summary=scalar(name, value))
                )
            self._tensorboard.flush()
        except OSError as error:
            raise StorageError(file.name, error) from error

    def bar(self, windows: range, num_windows: int, epoch: int) -> tqdm:
        """A progress bar over the windows of an epoch; silent where there is no terminal."""
        return tqdm(
            windows,
            initial=windows.start,
            total=num_windows,
            desc=f"epoch {epoch}",
            unit="window",
            leave=False,
            disable=None,
        )

    def say(self, line: str) -> None:
        """Prints one readable line, below which a bar may go on."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


class Silence(Report):
    """What the processes behind the first one report: nothing."""

    def __init__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def rewind(self, log_bytes: int) -> None:
        """Does nothing."""

    @property
    def log_bytes(self) -> int:
        """0: the log is that of process 0."""
        return 0

    def metrics(self, step: int, values: Mapping[str, float | int]) -> None:
        """Hears whether process 0 could write."""
        with processes.together():
            pass

    def timing(self, step: int, values: Mapping[str, float | int]) -> None:
        """Hears whether process 0 could write."""
        with processes.together():
            pass

    def bar(self, windows: range, num_windows: int, epoch: int) -> tqdm:
        """A bar that does not show."""
        return tqdm(windows, disable=True)

    def say(self, line: str) -> None:
        """Does nothing."""
