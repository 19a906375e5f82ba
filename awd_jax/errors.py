"""Errors that stop a run early. `main` prints each as one line, without a traceback."""

import os
import re
import signal


class RunError(Exception):
    """Ends a run with one line on stderr and an exit code."""

    exit_code = 1


class InputError(ValueError, RunError):
    """A wrong input: one line that gives the value, the rule and the fix.

    Config and corpus are checked before any device work and before anything is written.
    """

    exit_code = 2

    def __init__(self, value: str, rule: str, fix: str) -> None:
        super().__init__(f"{value}: {rule}; {fix}")


class ReaderGoneError(RunError):
    """The program that reads standard output has ended, as `head` does. That is no failure."""

    exit_code = 0


class DivergedError(RunError):
    """A loss or gradient that is not finite."""


class OutOfMemoryError(RunError):
    """An array does not fit into the memory of a device or of the machine."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"out of memory ({one_line(error)}): make the model, the batch or the number of "
            "texts smaller"
        )


class StorageError(RunError):
    """A file of the run cannot be written: a full disk, a quota, a lost mount."""

    def __init__(self, what: str, error: Exception) -> None:
        super().__init__(
            f"{what} cannot be written ({one_line(error)}); checkpoints before it are whole: "
            "make room, and the same command continues from the last one"
        )


class InterruptedRunError(RunError):
    """A signal stopped the run. The exit code is 128 + signal, as in a shell: SIGTERM gives 143."""

    def __init__(self, signum: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} {where}")
        self.exit_code = 128 + signum


class SignalReceived(BaseException):
    """A signal, wherever the program was. No Exception: those are what libraries fail with."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
        self.exit_code = 128 + signum


class ProcessError(RunError):
    """Another process of the run failed, was lost, or never started.

    The exit code is that of the other process if it is known, else 3.
    """

    def __init__(self, message: str, exit_code: int = 3) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class LostProcessError(ProcessError):
    """Another process was lost: it was killed, or its machine or network failed."""


def one_line(error: BaseException) -> str:
    """An error in one line: the system's message, else the last line of its own, else its type.

    A library's message may be empty, and the `strerror` of an OSError may be None.
    """
    # tensorstore hides the system's error code among pages of details.
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def as_run_error(error: Exception) -> RunError | None:
    """The RunError that a library's error means to a user, None if that is not known."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return OutOfMemoryError(error)
    return None
