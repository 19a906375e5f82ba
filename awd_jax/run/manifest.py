"""What lies beside the arrays of a checkpoint: where the run stands, whose it is, checksums."""

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from awd_jax.errors import InputError, one_line
from awd_jax.run.workdir import check_same

FORMAT = 2
FIX = "restore it from a copy, or start anew with another --workdir"


class DamagedError(InputError):
    """A checkpoint is not what was saved."""


class Progress(NamedTuple):
    """Where a run stands: everything else follows from (seed, step)."""

    step: int  # windows trained on since the start of the run
    epoch: int  # from 1 on
    window: int  # the next of this epoch
    log_bytes: int  # length of the metrics log
    best_nll: float  # the lowest validation loss so far; infinite before the first


class Validation(NamedTuple):
    """A validation, and what was validated."""

    nll: float
    params: str  # where in the tree the parameters are: the path that is before each of theirs


class Identity(NamedTuple):
    """What a run and its checkpoints must have in common."""

    fields: dict[str, Any]  # as `workdir.describe` has them
    vocabulary: tuple[str, ...]  # tokens in the order of their ids


class Manifest(NamedTuple):
    """All that is known of a checkpoint without its arrays."""

    progress: Progress
    validation: Validation | None  # of the epoch that ends here; None in the midst of one
    identity: Identity
    crc32: dict[str, int]  # of each array, by its path

    @property
    def metrics(self) -> dict[str, float]:
        """What orbax ranks checkpoints by. In the midst of an epoch one is never the best."""
        nll = float("inf") if self.validation is None else self.validation.nll
        return {"valid_nll": nll, "step": self.progress.step}

    def to_json(self) -> dict[str, Any]:
        """As a value that JSON knows."""
        return {
            "format": FORMAT,
            "progress": self.progress._asdict(),
            "validation": self.validation and self.validation._asdict(),
            "identity": self.identity._asdict(),
            "crc32": self.crc32,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Manifest":
        """The inverse of `to_json`."""
        validation, identity = content["validation"], content["identity"]
        return cls(
            Progress(**content["progress"]),
            validation and Validation(**validation),
            Identity(identity["fields"], tuple(identity["vocabulary"])),
            content["crc32"],
        )


def seal(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON, with a checksum of itself."""
    content = manifest.to_json()
    return {"content": content, "crc32": checksum_json(content)}


def unseal(place: str, read: Callable[[], Any], metrics: dict[str, float] | None) -> Manifest:
    """The manifest that `seal` sealed.

    Args:
      place: of the checkpoint, for messages.
      read: reads what `seal` returned.
      metrics: as they lie beside it.

    Raises:
      InputError: it is damaged (DamagedError), or of another format.
    """
    try:
        sealed = read()
        content, crc32 = sealed["content"], sealed["crc32"]
    except Exception as error:  # of orbax, or of a file with other content
        raise DamagedError(place, f"cannot be read ({one_line(error)})", FIX) from error
    if crc32 != checksum_json(content):
        raise DamagedError(place, "has a wrong checksum of its meta", FIX)
    if content["format"] != FORMAT:
        raise InputError(
            f"{place} has format {content['format']}", f"must be {FORMAT}", "use another workdir"
        )
    manifest = Manifest.from_json(content)
    if manifest.metrics != metrics:
        raise DamagedError(place, "has other metrics than its meta says", FIX)
    return manifest


def check_identity(place: str, theirs: Identity, ours: Identity) -> None:
    """Checks that a checkpoint is one of this run.

    Raises:
      InputError: it has another config, corpus or vocabulary.
    """
    check_same(place, theirs.fields, ours.fields)
    if theirs.vocabulary != ours.vocabulary:
        raise InputError(
            f"{place} has another vocabulary of {len(theirs.vocabulary)} tokens",
            f"must be that of the corpus, {len(ours.vocabulary)} tokens",
            "use the corpus of that run, or another workdir",
        )


def by_path(tree: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a tree on the host by their paths; without those of no elements.

    So no structure is part of a checkpoint: orbax would make dicts of its tuples. And orbax
    refuses an array of no elements.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if leaf.size}


def checksum_json(content: Any) -> int:
    """The CRC-32, which finds every flipped bit, of a value as JSON, in any order of its keys."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def checksum_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The CRC-32 of each array."""
    return {
        # As bytes: numpy gives no buffer of bfloat16.
        name: zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        for name, array in arrays.items()
    }
