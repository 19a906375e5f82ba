"""The input of a task that reads lines: a file, or standard input."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from awd_jax.data.text import Text, file_text
from awd_jax.errors import InputError, one_line
from awd_jax.files import is_pipe_or_device, local_path


@contextlib.contextmanager
def open_input(field: str, path: str, level: str) -> Iterator[Text]:
    """Opens the input. It is read twice, to check and to compute, so a pipe is copied first.

    Args:
      field: of the config, such as config.score.input.
      path: its value; "-" is standard input.
      level: what a token is.

    Raises:
      InputError: it cannot be copied, or is an empty pipe.
    """
    named = local_path(field, path)
    if path != "-" and not is_pipe_or_device(named):
        yield file_text(named, level)
        return
    name = "standard input" if path == "-" else path
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(tempfile.NamedTemporaryFile())
            pipe = sys.stdin.buffer if path == "-" else stack.enter_context(named.open("rb"))
            shutil.copyfileobj(pipe, copy, 1 << 20)
            copy.flush()
        except OSError as error:
            rule = f"cannot be copied into a temporary file ({one_line(error)})"
            raise InputError(name, rule, "give a readable file") from error
        if copy.tell() == 0:
            raise InputError(name, "is empty", "give it at least one line")
        yield file_text(Path(copy.name), level)._replace(name=name)
