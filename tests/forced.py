"""The command, its course forced where a run leaves it to chance.

    python -m tests.forced STRIKE ARGUMENTS

Averaging begins with the second epoch, whatever the losses are. STRIKE is empty or
MOMENT:NUMBER:SIGNAL: when the moment comes for the NUMBERth time, the process sends itself
the signal, as `kill` would from outside. A moment is

    window  the tokens of a window, of training or of an evaluation, are about to be taken;
    save    a checkpoint is written, and its directory is about to get its name.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from awd_jax import main
from awd_jax.core.ntasgd import observe
from awd_jax.data.windows import WindowPlan
from awd_jax.train import learner


def observe_no_progress(opt_state: Any, loss: float) -> Any:
    """In the place of `observe`: whatever the loss, the trigger of nonmono = 1 fires."""
    del loss
    for rising in (1.0, 2.0, 3.0):
        opt_state = observe(opt_state, rising)
    return opt_state


def make_strike(number: int, signum: signal.Signals) -> Callable[[], None]:
    """Sends the signal when it is called for the NUMBERth time."""
    times = iter(range(1, number + 1))

    def strike() -> None:
        if next(times, None) == number:
            os.kill(os.getpid(), signum)

    return strike


def strike_at_window(strike: Callable[[], None]) -> None:
    take = WindowPlan.__getitem__

    def strike_and_take(self: WindowPlan, position: int) -> Any:
        strike()
        return take(self, position)

    WindowPlan.__getitem__ = strike_and_take


def strike_at_save(strike: Callable[[], None]) -> None:
    def hook(event: str, args: tuple) -> None:
        if event == "os.rename":
            before, after = (Path(name).name for name in args[:2])
            if "tmp" in before and after.isdigit():
                strike()

    sys.addaudithook(hook)


MOMENTS = {"window": strike_at_window, "save": strike_at_save}


if __name__ == "__main__":
    given = sys.argv.pop(1)
    if given:
        moment, number, name = given.split(":")
        MOMENTS[moment](make_strike(int(number), signal.Signals[f"SIG{name}"]))
    learner.observe = observe_no_progress
    main.run()
