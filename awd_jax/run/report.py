"""The reports of a run: metrics log, TensorBoard, progress bar, and a line per epoch."""

import contextlib
import math
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar
from tqdm import tqdm

from awd_jax import output
from awd_jax.errors import StorageError, one_line
from awd_jax.files import to_json
from awd_jax.run import processes


def perplexity(nll: float) -> float:
    """Returns exp of a mean NLL in nats per token; infinite if no float can hold it."""
    return math.inf if nll > 709 else math.exp(nll)


def describe_nll(nll: float, level: str) -> str:
    """Formats a mean NLL in nats per token: perplexity for words, else bits per token."""
    if level == "word":
        return f"perplexity {perplexity(nll):.2f}"
    return f"{nll / math.log(2):.4f} bits"


class Report(contextlib.AbstractContextManager):
    """The reports of one run, in its workdir. Process 0 writes them; its errors are raised in all.

    `metrics.jsonl` holds what the run computed, one JSON object per line: the same, bit for bit,
    however often the run was stopped and resumed. `timing.jsonl` holds what depends on the
    machine. TensorBoard shows both; what was computed twice appears twice.

    Raises:
      StorageError: a file cannot be written.
    """

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._speaks = processes.is_first()
        self._metrics: BinaryIO  # these three in process 0 only
        self._timing: BinaryIO
        self._tensorboard: EventsWriter
        with processes.together():
            if processes.is_first():
                self._open(workdir / "tensorboard")

    def _open(self, tensorboard: Path) -> None:
        try:
            self._metrics = (self._workdir / "metrics.jsonl").open("ab")
            self._timing = (self._workdir / "timing.jsonl").open("ab")
            tensorboard.mkdir(exist_ok=True)
            # Not SummaryWriter: its thread ends on a full disk, and then its queue blocks forever.
            self._tensorboard = EventsWriter(str(tensorboard / "events"))
        except OSError as error:
            raise StorageError(str(error.filename), error) from error

    def __exit__(self, *error: object) -> None:
        # All lines are on disk already; an error of a full disk has been raised before.
        if processes.is_first():
            for file in (self._metrics, self._timing, self._tensorboard):
                with contextlib.suppress(OSError):
                    file.close()

    def rewind(self, log_bytes: int) -> None:
        """Drops the lines of the metrics log after a checkpoint: they will be computed again."""
        with processes.together():
            if processes.is_first():
                self._rewind(log_bytes)

    def _rewind(self, log_bytes: int) -> None:
        if self.log_bytes < log_bytes:
            self.say(f"{self._metrics.name} has lost lines: new ones follow the last that is left")
        try:
            self._metrics.truncate(min(log_bytes, self.log_bytes))
            self._metrics.seek(0, os.SEEK_END)
        except OSError as error:
            raise StorageError(self._metrics.name, error) from error

    @property
    def log_bytes(self) -> int:
        """Length of the metrics log in bytes; 0 in a process that does not write it."""
        return self._metrics.tell() if processes.is_first() else 0

    def metrics(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a line to the metrics log; it is on disk when this returns."""
        with processes.together():
            if processes.is_first():
                self._add(self._metrics, step, values)

    def timing(self, step: int, values: Mapping[str, float | int]) -> None:
        """Adds a line to the timing log, with the peak memory of the process so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        with processes.together():
            if processes.is_first():
                self._add(self._timing, step, {**values, "peak_memory_mib": peak})

    def _add(self, file: BinaryIO, step: int, values: Mapping[str, float | int]) -> None:
        try:
            file.write(to_json({"step": step, **values}).encode() + b"\n")
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
        """Returns a progress bar over the windows of an epoch; silent without a terminal."""
        return tqdm(
            windows,
            initial=windows.start,
            total=num_windows,
            desc=f"epoch {epoch}",
            unit="window",
            leave=False,
            disable=None if processes.is_first() else True,
        )

    def say(self, line: str) -> None:
        """Prints a line in process 0, above a progress bar if there is one.

        A run can outlive its terminal: if the line cannot be printed, this says so once on
        standard error, and prints no more.
        """
        if not self._speaks:
            return
        try:
            with tqdm.external_write_mode(file=sys.stdout):
                output.write_line(sys.stdout, line)
        except (OSError, ValueError) as error:  # ValueError: stdout is closed
            self._speaks = False
            output.give_up(sys.stdout)
            output.complain(
                f"{output.STDOUT} cannot be written ({one_line(error)}): the run goes on and "
                f"prints no more; its logs are in {self._workdir}"
            )
