"""Everything that is printed. Standard output and standard error can fail, like any file.

A task's result goes to standard output; if that fails, the task ends. Notes and errors go to
standard error; if that fails, they are lost. (Training prints through `run.report`, and goes on
if either fails.)
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
    """Opens the standard streams that the shell has closed; in Python they are None.

    Reading and writing then fail as for any file. And no file of the run gets the descriptor of a
    standard stream, to which libraries print.
    """
    # The null device, opened in the wrong direction so that reading and writing fail.
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123


def say(line: str) -> None:
    """Prints a line of a task's result.

    Raises:
      ReaderGoneError, InputError: see `_writing`.
    """
    with _writing(STDOUT):
        write_line(sys.stdout, line)


def note(line: str) -> None:
    """Prints a line on standard error; never fails."""
    try:
        write_line(sys.stderr, line, errors="backslashreplace")
    except (OSError, ValueError):  # ValueError: it is closed
        give_up(sys.stderr)


def complain(line: str, *, is_last: bool = False) -> None:
    """Prints an error on standard error, as one line after the program's name.

    With `is_last` nothing is printed after it: library threads may go on reporting the same error,
    in pages, until the process ends.
    """
    line = "awd_jax: " + line.replace("\r", "\\r").replace("\n", "\\n")
    if is_last:
        with contextlib.suppress(OSError, ValueError):  # no descriptor: just a note
            descriptor = os.dup(sys.stderr.fileno())
            give_up(sys.stderr)
            sys.stderr = open(descriptor, "w", errors="backslashreplace")  # noqa: SIM115, PTH123
    note(line)


def write_line(stream: Any, line: str, errors: str = "replace") -> None:
    """Writes a line and flushes. `errors` is how to replace what the stream cannot encode."""
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, errors).decode(encoding) + "\n")
    stream.flush()


def give_up(stream: Any) -> None:
    """Redirects a stream that failed to the null device, because Python flushes it at exit."""
    with contextlib.suppress(OSError, ValueError):  # no descriptor, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _writing(name: str) -> Iterator[None]:
    """Raises an error that ends the task if writing to `name`, a file or standard output, fails.

    Raises:
      ReaderGoneError: the program that reads it has ended.
      InputError: it cannot be written for another reason, such as a full disk.
    """
    try:
        yield
    except OSError as error:
        if name == STDOUT:
            give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError(f"{name} is no longer read") from error
        rule = f"cannot be written ({one_line(error)})"
        raise InputError(name, rule, "give a file that can be written") from error


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[io.TextIOWrapper]:
    """Opens a file, which appears when it is whole, or standard output for None. Writes UTF-8.

    Raises:
      ReaderGoneError, InputError: see `_writing`.
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
    # A vocabulary from JSON may have lone surrogates, which UTF-8 cannot encode.
    return io.TextIOWrapper(binary, "utf-8", errors="replace", newline="\n")
