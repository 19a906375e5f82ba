"""Errors that stop a run early. `main` prints each as one line, without a traceback."""

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


class ReaderGoneError(RunError):
    """The program that reads standard output has gone, as `head` does. Nothing is wrong."""

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
            "make room, then the same command goes on from the last one"
        )


class InterruptedRunError(RunError):
    """A signal asked the run to stop. The exit code is the shells': 143 for SIGTERM, 130, 129."""

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


def one_line(error: BaseException) -> str:
    """What an error says, in one line: the system's own words, else the last line of its message.

    A library's message may be empty (then it is the error's type), and an OSError may carry no
    word of the system (`strerror` is None).
    """
    code = re.search(r"os_error_code='(\d+)'", str(error))  # tensorstore adds pages to it
    if code:
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def as_run_error(error: Exception) -> RunError | None:
    """An error of a library as one of ours, where it has a known meaning for a user; else None."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return OutOfMemoryError(error)
    return None
