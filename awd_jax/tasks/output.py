"""Where a task writes what it was asked for: standard output or a file."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from awd_jax.errors import InputError


@contextlib.contextmanager
def open_output(path: str) -> Iterator[io.TextIOWrapper]:
    """Opens standard output for "", else a file, which appears when it is whole. UTF-8 always.

    Raises:
      InputError: it cannot be written.
      SystemExit: who read standard output has gone, as `head` does.
    """
    if not path:
        out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="\n")
        try:
            yield out
            out.flush()
        except BrokenPipeError as error:
            raise SystemExit(0) from error
        except OSError as error:
            raise _cannot_be_written("standard output", error) from error
        finally:
            out.detach()
        return
    part = Path(f"{path}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as out:
            yield out
        part.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _cannot_be_written(name: str, error: OSError) -> InputError:
    return InputError(name, f"cannot be written ({error.strerror})", "give a file that can be")
