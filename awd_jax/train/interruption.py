"""SIGTERM and Ctrl-C, noted until the run stands where it can go on later."""

import contextlib
import signal
import threading
from types import FrameType
from typing import Any


class Interruption(contextlib.AbstractContextManager):
    """While it is entered, a first signal is noted; a second one acts at once, as usual."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {s: signal.signal(s, self._note) for s in self._SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}
