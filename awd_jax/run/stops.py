"""When a run saves and when it stops: signals, and the vote of the processes on both."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from awd_jax.errors import InterruptedRunError, SignalReceived
from awd_jax.run import processes
from awd_jax.run.replicas import Replicas


class Interruption(contextlib.AbstractContextManager):
    """Remembers SIGTERM, SIGHUP and Ctrl-C until the run reaches a point that it can resume from.

    Inside the context, a first signal is only noted; a second one acts at once, as usual.
    """

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
    """Makes SIGTERM and SIGHUP raise in the body, as Ctrl-C does, so nothing stays half-written.

    There it is a `SignalReceived`. A second signal acts at once, as usual.

    Raises:
      InterruptedRunError: a signal came.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        del frame
        _restore(before)
        raise SignalReceived(signum)

    before = _handle((signal.SIGTERM, signal.SIGHUP), end)
    try:
        yield
    except SignalReceived as error:
        raise InterruptedRunError(error.signum, "before the task was done") from None
    finally:
        _restore(before)


def _handle(signums: tuple[signal.Signals, ...], handler: Any) -> dict[int, Any]:
    """Sets a handler, and returns the previous handlers."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        return {}
    # An ignored signal stays ignored: so `nohup` lets a run outlive its terminal.
    heard = [s for s in signums if signal.getsignal(s) is not signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in heard}


def _restore(handlers: dict[int, Any]) -> None:
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


class Wish(NamedTuple):
    """What a process wants to do after a window."""

    signum: int  # the signal that came; 0 if none did
    save: int  # 1 if it is time to save


NOTHING = Wish(0, 0)


class Agreement:
    """Lets all processes save or stop if one of them wants to, one window later.

    Each vote is read one window after it is cast, so no step waits for it. A single process acts
    after the same window.
    """

    def __init__(self, config: ConfigDict, interruption: Interruption, replicas: Replicas) -> None:
        """Takes the config's group `train`."""
        self._config = config
        self._interruption = interruption
        self._replicas = replicas
        self._last_save = time.monotonic()
        self._asked: Wish | jax.Array = NOTHING
        self._agreed = NOTHING

    def ask(self, windows_done: int = 0) -> bool:
        """Takes a vote of all processes after each window; returns whether to save now.

        Args:
          windows_done: in this epoch; 0 in an evaluation, where nothing is saved.
        """
        config = self._config
        is_late = time.monotonic() - self._last_save > 60 * config.checkpoint_minutes
        wish = Wish(self._interruption.signum or 0, int(is_late))
        if processes.count() == 1:
            self._agreed = wish
        else:
            before, self._asked = self._asked, self._replicas.most(np.asarray(wish, np.int32))
            self._agreed = Wish(*np.asarray(before).tolist())
        steps = config.checkpoint_steps
        by_steps = windows_done and steps and windows_done % steps == 0
        return bool(by_steps or self._agreed.save or self._agreed.signum)

    def saved(self) -> None:
        """Notes that all have just saved, so votes cast before are void."""
        self._last_save = time.monotonic()
        self._asked = NOTHING

    def check(self, where: str) -> None:
        """Ends the run if all know of a signal.

        Args:
          where: where the run is, for the message.

        Raises:
          InterruptedRunError: they do.
        """
        if self._agreed.signum:
            raise InterruptedRunError(self._agreed.signum, where)
