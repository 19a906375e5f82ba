"""What lies beside the arrays of a checkpoint: where the run stands, whose it is, checksums."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from awd_jax.errors import InputError, one_line
from awd_jax.train.checksum import checksum_arrays, checksum_json
from awd_jax.train.state import TrainState
from awd_jax.train.workdir import check_same

FORMAT = 1
FIX = "restore it from a copy, or start anew with another --workdir"


class DamagedError(InputError):
    """A checkpoint is not what was saved."""


class Progress(NamedTuple):
    """Where a run stands: everything else follows from (seed, step)."""

    epoch: int  # from 1 on
    window: int  # the next of this epoch
    log_bytes: int  # length of the metrics log


class Identity(NamedTuple):
    """What a run and its checkpoints must have in common."""

    fields: dict[str, Any]  # as `workdir.describe` has them
    vocabulary: tuple[str, ...]  # tokens in the order of their ids


def make_meta(
    arrays: TrainState, progress: Progress, metrics: dict[str, float], identity: Identity
) -> dict[str, Any]:
    """All of it, with a checksum of each array and one of itself."""
    content = {
        "format": FORMAT,
        "progress": progress._asdict(),
        "metrics": metrics,
        **identity._asdict(),
        "crc32": checksum_arrays(arrays),
    }
    return {"content": content, "crc32": checksum_json(content)}


def read_meta(
    place: str, read: Callable[[], Any], metrics: dict[str, float] | None
) -> dict[str, Any]:
    """The content of what `make_meta` made.

    Args:
      place: of the checkpoint, for messages.
      read: reads what `make_meta` made.
      metrics: as they lie beside it.

    Raises:
      InputError: it is damaged (DamagedError), or of another format.
    """
    try:
        meta = read()
        content, crc32 = meta["content"], meta["crc32"]
    except Exception as error:  # of orbax, or of a file with other content
        raise DamagedError(place, f"cannot be read ({one_line(error)})", FIX) from error
    if crc32 != checksum_json(content):
        raise DamagedError(place, "has a wrong checksum of its meta", FIX)
    if content["metrics"] != metrics:
        raise DamagedError(place, "has other metrics than its meta says", FIX)
    if content["format"] != FORMAT:
        raise InputError(
            f"{place} has format {content['format']}", f"must be {FORMAT}", "use another workdir"
        )
    return content


def check_identity(place: str, meta: dict[str, Any], ours: Identity) -> None:
    """Checks that a checkpoint is one of this run.

    Raises:
      InputError: it has another config, corpus or vocabulary.
    """
    check_same(place, meta["fields"], ours.fields)
    if tuple(meta["vocabulary"]) != ours.vocabulary:
        raise InputError(
            f"{place} has another vocabulary of {len(meta['vocabulary'])} tokens",
            f"must be that of the corpus, {len(ours.vocabulary)} tokens",
            "use the corpus of that run, or another workdir",
        )


def rank(metrics: dict[str, float]) -> tuple[float, float]:
    """The best comes first: the lowest loss, and the earliest of equal ones."""
    return metrics["valid_nll"], float(metrics["step"])


def find_unreadable(directory: Path) -> dict[Path, DamagedError]:
    """The checkpoints without metrics, each with what is wrong.

    Orbax reads all metrics at once, and fails at or passes over what it cannot read.
    """
    damaged = {}
    for path in checkpoint_paths(directory):
        try:
            rank(json.loads((path / "metrics" / "metrics").read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            damaged[path] = DamagedError(
                f"checkpoint {path}", f"has no metrics ({one_line(error)})", FIX
            )
    return damaged


def checkpoint_paths(directory: Path) -> list[Path]:
    """The checkpoints in a directory; what has no number for a name was cut off."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return [path for path in paths if path.name.isdigit()]
