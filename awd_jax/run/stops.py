"""When to save and when to stop: at the same window in every process."""

import time
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from awd_jax.errors import InterruptedRunError
from awd_jax.train import processes
from awd_jax.train.devices import num_local
from awd_jax.train.interruption import Interruption
from awd_jax.train.step import pmap_max


class Wish(NamedTuple):
    """What a process would do after a window."""

    signum: int  # the signal that came; 0 of none
    save: int  # 1 if it is time to save


NOTHING = Wish(0, 0)


class Agreement:
    """If one process wants to save or stop, all do, one window later.

    Each vote is read a window after it is cast, so no step waits for it. A process that is alone
    acts after the same window.
    """

    def __init__(
        self, config: ConfigDict, interruption: Interruption, devices: list[jax.Device]
    ) -> None:
        """Takes the config's group `train`."""
        self._config = config
        self._interruption = interruption
        self._last_save = time.monotonic()
        self._num_local = num_local(devices)
        self._max = pmap_max(devices) if processes.count() > 1 else None
        self._asked: Wish | jax.Array = NOTHING
        self._agreed = NOTHING

    def ask(self, windows_done: int = 0) -> bool:
        """Asks all processes, after each window; returns whether to save now.

        Args:
          windows_done: of the epoch; 0 in an evaluation, where nothing is saved.
        """
        config = self._config
        is_late = time.monotonic() - self._last_save > 60 * config.checkpoint_minutes
        wish = Wish(self._interruption.signum or 0, int(is_late))
        if self._max is None:
            self._agreed = wish
        else:
            before = self._asked
            self._asked = self._max(np.tile(np.asarray(wish, np.int32), (self._num_local, 1)))
            self._agreed = Wish(*np.asarray(before).tolist())
        steps = config.checkpoint_steps
        by_steps = windows_done and steps and windows_done % steps == 0
        return bool(by_steps or self._agreed.save or self._agreed.signum)

    def saved(self) -> None:
        """Notes that all have saved just now: nobody needs to wish it any more."""
        self._last_save = time.monotonic()
        self._asked = NOTHING

    def check(self, where: str) -> None:
        """Ends the run if all know of a signal.

        Args:
          where: the run stands, for the message.

        Raises:
          InterruptedRunError: they do.
        """
        if self._agreed.signum:
            raise InterruptedRunError(self._agreed.signum, where)
