"""What ends a run before its end. `main` prints each without a traceback."""

import os
import re
import signal


class RunError(Exception):
    """Ends a run with one line on stderr and an exit code."""

    exit_code = 1


class InputError(ValueError, RunError):
    """A wrong input: one line that gives the value, the rule and the fix.

    What config and corpus say is checked before any device work and before
    anything is written.
    """

    exit_code = 2

    def __init__(self, value: str, rule: str, fix: str) -> None:
        super().__init__(f"{value}: {rule}; {fix}")


class DivergedError(RunError):
    """A loss or gradient that is not finite."""


class StorageError(RunError):
    """A file of the run cannot be written: a full disk, a quota, a lost mount."""

    def __init__(self, what: str, error: Exception) -> None:
        # Layers below add pages to what the system said.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        reason = os.strerror(int(code[1])) if code else one_line(error)
        super().__init__(
            f"{what} cannot be written ({reason}); checkpoints before it are whole: "
            "make room, then the same command goes on from the last one"
        )


class InterruptedRunError(RunError):
    """A signal asked the run to stop. Exits as shells have it: 143 for SIGTERM, 130 for Ctrl-C."""

    def __init__(self, signum: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} {where}")
        self.exit_code = 128 + signum


class ProcessError(RunError):
    """Another process of the run failed, is gone, or never came.

    Its exit code is that of the other, where it is known; else 3.
    """

    def __init__(self, message: str, exit_code: int = 3) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LostProcessError(ProcessError):
    """Another process is gone: it was killed, or its machine or network failed."""


def one_line(error: Exception) -> str:
    """The last line of an error's message, which says most; its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
