"""The directory of a run, which belongs to one config and one corpus."""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import jax
from ml_collections import ConfigDict

from awd_jax.errors import InputError, StorageError, one_line
from awd_jax.files import whole_file
from awd_jax.recipe import flatten
from awd_jax.run import processes

# Fields that say where the corpus is kept: each process may have its own places.
PLACES = ("data.dir", "data.cache_dir")
# Fields that say where, how and for how long a run goes, not what it computes: a resume may change
# them. (Another backend rounds otherwise.)
FREE_FIELDS = frozenset(
    {
        *PLACES,
        "model.backend",
        "train.num_epochs",
        "train.num_devices",
        "train.checkpoint_minutes",
        "train.checkpoint_steps",
        "train.num_samples",
    }
)
# Settings of jax, with their defaults, that change the arrays of a run on any machine: a resume
# under another generator or number format would silently mix two different runs.
_JAX_DEFAULTS = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_default_matmul_precision": None,
}
# The groups that define a run; the others belong to tasks that start from its result.
_OWN_GROUPS = ("name", "data", "model", "optimizer", "train")
CHECKPOINTS = "checkpoints"  # the directory of checkpoints in a workdir
_NUM_SHOWN = 3


def describe(config: ConfigDict, fingerprint: dict[str, str]) -> dict[str, Any]:
    """Returns what a run depends on: config fields, fingerprint of the data, settings of jax."""
    own = {name: v for name, v in flatten(config).items() if name.split(".")[0] in _OWN_GROUPS}
    fields = json.loads(json.dumps(own))  # as read back from the file: no tuples
    return fields | fingerprint | jax_settings()


def jax_settings() -> dict[str, Any]:
    """Returns the jax settings (flags or JAX_ENABLE_X64, ...) that a run depends on."""
    return {name: getattr(jax.config, name) for name in _JAX_DEFAULTS}


def check_checkpoints_can_be_read(workdir: Path) -> None:
    """Checks that orbax can read back what it writes to this directory.

    Orbax treats the path as a glob pattern when it merges the parts of a checkpoint, and passes
    it to libraries that accept UTF-8 only. In other paths it could save, but never restore.

    Raises:
      InputError: the path has a character of glob patterns, or is not UTF-8.
    """
    path = str(workdir.absolute())
    bad = re.search(r"[*?\[\]\\]|[\ud800-\udfff]", path)
    if bad:
        raise InputError(
            f"workdir {ascii(path)[1:-1]}",
            f"has {bad[0]!a} in its path, and checkpoints there could not be read again",
            "give a --workdir without any of * ? [ ] \\ and in UTF-8 in its whole path",
        )


def check_same(place: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Checks that two runs, each as `describe` returns it, compute the same.

    Raises:
      InputError: they differ; names the first differing fields.
    """
    # The triangle of slanted is over all updates of a run.
    is_slanted = ours.get("optimizer.schedule") == "slanted"
    free = FREE_FIELDS - ({"train.num_epochs"} if is_slanted else set())
    differing = [
        f"{name} = {theirs.get(name)!r} there, {ours.get(name)!r} here"
        for name in {**ours, **theirs}
        if name not in free and theirs.get(name) != ours.get(name)
    ]
    if differing:
        more = f", and {len(differing) - _NUM_SHOWN} more" * (len(differing) > _NUM_SHOWN)
        raise InputError(
            f"{place} holds another run",
            "; ".join(differing[:_NUM_SHOWN]) + more,
            "give the config of that run and its JAX_ settings, or another --workdir",
        )


@contextlib.contextmanager
def open_workdir(workdir: Path, fields: dict[str, Any]) -> Iterator[None]:
    """Creates the directory of a new run, or checks that it belongs to this run; locks it.

    Process 0 does so for all processes.

    Args:
      workdir: the directory. No other run can open it until this context ends.
      fields: from `describe`, for this run.

    Raises:
      InputError: it belongs to another run, another process has it open, or it
        cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with processes.together():
            if processes.is_first():
                check_checkpoints_can_be_read(workdir)
                try:
                    _claim(workdir, fields, stack)
                except InputError:
                    raise
                except (OSError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
                    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                        raise StorageError(f"workdir {workdir}", error) from error
                    raise InputError(
                        f"workdir {workdir}",
                        f"cannot be used ({one_line(error)})",
                        "give another one with --workdir",
                    ) from error
        yield


def _claim(workdir: Path, fields: dict[str, Any], stack: contextlib.ExitStack) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    # The system releases a lock however a process ends, so a killed run leaves none.
    # Without a buffer: closing would write again what failed, and raise again.
    lock = stack.enter_context((workdir / "lock").open("ab+", buffering=0))
    _lock(lock, workdir)
    path = workdir / "config.json"
    if path.exists():
        theirs = json.loads(path.read_text())
        if not isinstance(theirs, dict):
            raise ValueError("its config.json is not a JSON object")
        check_same(f"workdir {workdir}", theirs, fields)
    else:
        with whole_file(path) as file:
            file.write(json.dumps(fields, indent=2).encode() + b"\n")


def _lock(file: BinaryIO, workdir: Path) -> None:
    """Locks a file, and writes into it which process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise InputError(
            f"workdir {workdir}",
            f"another run uses it ({file.read().decode(errors='replace').strip()})",
            "wait for that run, or give another --workdir",
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
