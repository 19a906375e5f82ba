"""SIGTERM, SIGHUP and Ctrl-C: training remembers them until it reaches a point to resume from."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from awd_jax.errors import InterruptedRunError


class Interruption(contextlib.AbstractContextManager):
    """While it is entered, a first signal is noted; a second one acts at once, as usual."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self._before = _handle((signal.SIGTERM, signal.SIGHUP, signal.SIGINT), self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        _restore(self._before)
        self._before = {}


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the body by an error, as Ctrl-C does: nothing stays half-written.

    A second one acts at once, as usual.

    Raises:
      InterruptedRunError: one came.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        del frame
        _restore(before)
        raise InterruptedRunError(signum, "before the task was done")

    before = _handle((signal.SIGTERM, signal.SIGHUP), end)
    try:
        yield
    finally:
        _restore(before)


def _handle(signums: tuple[signal.Signals, ...], handler: Any) -> dict[int, Any]:
    """Sets a handler, and returns those before it."""
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        return {}
    # An ignored signal stays so: `nohup` lets a run outlive its terminal that way.
    heard = [s for s in signums if signal.getsignal(s) is not signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in heard}


def _restore(handlers: dict[int, Any]) -> None:
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
