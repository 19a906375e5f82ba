"""Standard output and standard error: they can fail like any file, and all that prints goes here.

A task's result is on standard output: where that fails, the task ends. What is only good to know
goes to standard error, and is lost where that fails. (Training says its lines through
`run.report`, and outlives both.)
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from awd_jax.errors import InputError, ReaderGoneError, one_line
from awd_jax.files import whole_file

STDOUT = "standard output"


def open_streams() -> None:
    """Opens the standard streams that the shell has closed, which Python has as None.

    Reading and writing then fail as with any file; and no file of the run gets the number of a
    standard stream, to which the layers below print.
    """
    # The null device, opened for the other direction: so reading and writing fail.
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123


def say(line: str) -> None:
    """Prints a line of a task's result.

    Raises:
      ReaderGoneError, InputError: as `_writing`.
    """
    with _writing(STDOUT):
        write_line(sys.stdout, line)


def note(line: str) -> None:
    """Prints a line on standard error; never fails."""
    try:
        write_line(sys.stderr, line, errors="backslashreplace")
    except (OSError, ValueError):  # ValueError: it has been closed
        give_up(sys.stderr)


def complain(line: str, *, is_last: bool = False) -> None:
    """`note` of an error: with the program's name, and in one line whatever a name in it holds.

    With `is_last` nothing comes after it: threads of the layers below go on complaining of an
    error, in pages, until the process ends.
    """
    line = "awd_jax: " + line.replace("\r", "\\r").replace("\n", "\\n")
    if is_last:
        with contextlib.suppress(OSError, ValueError):  # without a descriptor, it is a note
            descriptor = os.dup(sys.stderr.fileno())
            give_up(sys.stderr)
            sys.stderr = open(descriptor, "w", errors="backslashreplace")  # noqa: SIM115, PTH123
    note(line)


def write_line(stream: Any, line: str, errors: str = "replace") -> None:
    """Writes a line at once. What the stream cannot encode is replaced, as `errors` has it."""
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, errors).decode(encoding) + "\n")
    stream.flush()


def give_up(stream: Any) -> None:
    """Leads a stream that failed to nowhere: Python flushes it once more at the end."""
    with contextlib.suppress(OSError, ValueError):  # of a stream without a descriptor, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    """What writes to a file of this name or to standard output, and ends the task if that fails.

    Raises:
      ReaderGoneError: the program that reads it has gone.
      InputError: it cannot be written for another reason, such as a full disk.
    """
    try:
        yield
    except OSError as error:
        if name == STDOUT:
            give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError(f"{name} is read no more") from error
        rule = f"cannot be written ({one_line(error)})"
        raise InputError(name, rule, "give a file that can be") from error


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[io.TextIOWrapper]:
    """Opens standard output for None, else a file, which appears when it is whole. UTF-8 always.

    Raises:
      ReaderGoneError, InputError: as `_writing`.
    """
    if path is None:
        out = _as_text(sys.stdout.buffer)
        try:
            with _writing(STDOUT):
                yield out
                out.flush()
        finally:
            with contextlib.suppress(OSError):
                out.detach()
        return
    with _writing(str(path)), whole_file(path) as file:
        out = _as_text(file)
        yield out
        out.flush()
        out.detach()


def _as_text(binary: Any) -> io.TextIOWrapper:
    # A vocabulary of JSON may hold halves of characters, which UTF-8 does not have.
    return io.TextIOWrapper(binary, "utf-8", errors="replace", newline="\n")
