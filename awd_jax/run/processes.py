"""Communication between the processes of a run; a single process communicates nothing.

Except for `count` and `is_first`, every process must call these functions at the same point of
the program, where they wait for one another.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from awd_jax.errors import InputError, ProcessError, RunError, SignalReceived


def count() -> int:
    """Returns the number of processes of the run."""
    # jax.process_count() starts the backend, which fails if there is none.
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Returns whether this is process 0, the only one that writes, logs and prints."""
    return count() == 1 or jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Makes a RunError in the body of one process fail all processes.

    Raises:
      RunError: the body's own, or a ProcessError if another process raised one.
    """
    if count() == 1:
        yield
        return
    failure: RunError | SignalReceived | None = None
    try:
        yield
    except (RunError, SignalReceived) as error:
        failure = error
    exit_codes = multihost_utils.process_allgather(np.int32(failure.exit_code if failure else 0))
    if failure is not None:
        raise failure
    for process, exit_code in enumerate(exit_codes.tolist()):
        if exit_code:
            raise ProcessError(f"process {process} of {count()} failed and says why", exit_code)


def broadcast_json(value: Any) -> Any:
    """Returns process 0's value, as decoded from JSON; the others' values do not matter."""
    if count() == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode() if is_first() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(content.size)))
    return json.loads(_broadcast_bytes(content, size).tobytes())


def broadcast_arrays(tree: Any) -> Any:
    """Returns process 0's arrays, bit for bit; the others' arrays give shapes and dtypes."""
    if count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    sizes = [np.dtype(leaf.dtype).itemsize * leaf.size for leaf in leaves]
    content = b"".join(np.asarray(leaf).tobytes() for leaf in leaves) if is_first() else b""
    received = _broadcast_bytes(np.frombuffer(content, np.uint8), sum(sizes))
    parts = np.split(received, np.cumsum(sizes)[:-1])
    arrays = [
        part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)


def gather_rows(tree: Any) -> Any:
    """Returns the rows of all processes, process 0's first, on the host of each."""
    return multihost_utils.process_allgather(tree, tiled=True)


def check_same(fields: dict[str, Any], but: tuple[str, ...]) -> None:
    """Checks that what a run depends on is the same in every process.

    Args:
      fields: values that JSON can hold, by name.
      but: names of fields that may differ.

    Raises:
      InputError: this process differs from process 0; names the first differing field.
      ProcessError: another process differs.
    """
    if count() == 1:
        return
    with together():
        first = broadcast_json(fields)
        for name, ours in fields.items():
            if name not in but and first.get(name) != ours:
                raise InputError(
                    f"process {jax.process_index()} has {name} = {ours!r}",
                    f"process 0 has {first.get(name)!r}",
                    "give all processes the same flags and the same corpus",
                )


def _broadcast_bytes(content: np.ndarray, size: int) -> np.ndarray:
    # As bytes, because jax broadcasts by a sum, which would turn -0 into 0.
    return multihost_utils.broadcast_one_to_all(content if is_first() else np.zeros(size, np.uint8))
