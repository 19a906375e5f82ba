"""Remembers SIGTERM, Ctrl-C and SIGHUP until the run reaches a point that it can resume from."""

import contextlib
import signal
import threading
from types import FrameType
from typing import Any


class Interruption(contextlib.AbstractContextManager):
    """While it is entered, a first signal is noted; a second one acts at once, as usual."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            # An ignored one stays so: `nohup` lets a run outlive its terminal that way.
            heard = [s for s in self._SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
            self._before = {s: signal.signal(s, self._note) for s in heard}
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
