"""Files that a user names: checking their paths, reading texts, writing whole files."""

import contextlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from awd_jax.errors import InputError, one_line

_OPENED = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")
_BYTE_ORDER_MARK = "\ufeff"
PATH_RULE = "must be a path on this machine, not an address, and without NUL"


def is_local(path: str) -> bool:
    """Whether a path is one of the local file system, and not an address such as gs://bucket/run.

    Some libraries would open an address, others would make a directory of that name, so it is
    refused before any of them sees it.
    """
    return not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) and "\0" not in path


def local_path(name: str, value: str) -> Path:
    """The path that a user gave as `name`, with `~` as the home directory.

    Raises:
      InputError: it is not a path of the local file system, its `~user` is unknown, or the system
        refuses to look it up.
    """
    if not is_local(value):
        fix = "copy the files here, or mount them, and give that directory"
        raise InputError(f"{name} {value!r}", PATH_RULE, fix)
    try:
        path = Path(value).expanduser()
        # Checked once, here: `Path.is_file` and others raise where the system refuses to look.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(f"{path}/.")  # noqa: PTH116 (a Path drops the dot)
        return path
    except (RuntimeError, OSError) as error:  # RuntimeError: an unknown ~user
        fix = "give another path"
        raise InputError(f"{name} {value!r}", f"cannot be used ({one_line(error)})", fix) from error


def decode(name: str, raw: bytes, first_line: int, fix: str = "save the text as UTF-8") -> str:
    """Decodes UTF-8.

    Raises:
      InputError: the bytes are not UTF-8; it names the line, counted from `first_line`.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise InputError(
            f"{name}, line {line}",
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            fix,
        ) from error


def without_mark(text: str) -> str:
    """The text without the byte order mark that some editors write."""
    return text.removeprefix(_BYTE_ORDER_MARK)


def read_text(name: str, path: Path, fix: str) -> str:
    """Reads a file of UTF-8, with or without a byte order mark.

    Raises:
      InputError: the file cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(name, f"cannot be read ({one_line(error)})", fix) from error
    return without_mark(decode(name, raw, 1, fix))


def is_pipe_or_device(path: Path) -> bool:
    """Whether the path exists but is no file or directory: a pipe can be read only once."""
    return path.exists() and not (path.is_file() or path.is_dir())


def to_json(content: Any, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Encodes as JSON. NaN and infinity, which JSON does not have, become null."""

    def finite(value: Any) -> Any:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {key: finite(inner) for key, inner in value.items()}
        return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value

    return json.dumps(finite(content), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that appears at `path` when the block ends, but not if the block raises.

    It replaces a regular file and keeps its permissions; of a link, it replaces the target. A
    device, a pipe or a terminal is written to directly, and so is a path such as /dev/stdout, which
    the shell has opened.

    Raises:
      OSError: the file cannot be written; nothing is left of it.
    """
    is_opened = _OPENED.fullmatch(os.path.abspath(path))  # noqa: PTH100 (links are not followed)
    if is_opened or (path.exists() and not path.is_file()):  # these follow links
        with path.open("ab") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the new name with no content
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()  # after an error: the part must not stay on a full disk
