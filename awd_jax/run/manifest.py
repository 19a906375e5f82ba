"""The manifest of a checkpoint: the progress and identity of the run, and checksums."""

import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from awd_jax.errors import InputError
from awd_jax.run.workdir import check_same

FORMAT = 2
FIX = "restore it from a copy, or start a new run with another --workdir"


class DamagedError(InputError):
    """A checkpoint differs from what was saved."""


class Progress(NamedTuple):
    """How far a run has come; everything else follows from (seed, step)."""

    step: int  # windows trained on since the start of the run
    epoch: int  # from 1 on
    window: int  # next window of this epoch, from 0 on
    log_bytes: int  # length of the metrics log
    best_nll: float  # lowest validation loss so far, as `Validation.nll`; infinite before the first
    num_plateaus: int  # validations so far without a new best


class Validation(NamedTuple):
    """A validation loss, and which parameters had it."""

    nll: float  # nats per token; or minus a measure, if epochs are ranked by one
    params: str  # path of those parameters in the tree, the prefix of each array's path


class Identity(NamedTuple):
    """What a run and its checkpoints must agree on."""

    fields: dict[str, Any]  # from `workdir.describe`
    vocabulary: tuple[str, ...]  # tokens in the order of their ids
    source_vocabulary: tuple[str, ...] = ()  # likewise, of the sources; () if there are none
    labels: tuple[str, ...] = ()  # of a classifier, in the order of their indices


class Manifest(NamedTuple):
    """Everything about a checkpoint except its arrays."""

    progress: Progress
    validation: Validation | None  # of the epoch that ends here; None within an epoch
    identity: Identity
    crc32: dict[str, int]  # CRC-32 of each array, by its path

    @property
    def metrics(self) -> dict[str, float]:
        """Values that orbax ranks checkpoints by; one within an epoch is never the best."""
        nll = float("inf") if self.validation is None else self.validation.nll
        return {"valid_nll": nll, "step": self.progress.step}

    def to_json(self) -> dict[str, Any]:
        """Returns the manifest as a value that JSON can hold."""
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
            Identity(
                identity["fields"],
                tuple(identity["vocabulary"]),
                # Older checkpoints have neither.
                tuple(identity.get("source_vocabulary", ())),
                tuple(identity.get("labels", ())),
            ),
            content["crc32"],
        )


def seal(manifest: Manifest) -> dict[str, Any]:
    """Returns the manifest as a value that JSON can hold, with a checksum of itself."""
    content = manifest.to_json()
    return {"content": content, "crc32": checksum_json(content)}


def unseal(place: str, sealed: Any, metrics: dict[str, float] | None) -> Manifest:
    """Returns the manifest that `seal` sealed, checked.

    Args:
      place: names the checkpoint in messages.
      sealed: what `seal` returned.
      metrics: those stored next to the manifest.

    Raises:
      InputError: it is damaged (DamagedError), or has another format.
      Exception: it is damaged so that it is no manifest at all.
    """
    content, crc32 = sealed["content"], sealed["crc32"]
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
    """Checks that a checkpoint belongs to this run.

    Raises:
      InputError: it has another config, corpus or vocabulary.
    """
    check_same(place, theirs.fields, ours.fields)
    for name in ("vocabulary", "source_vocabulary", "labels"):
        tokens, expected = getattr(theirs, name), getattr(ours, name)
        if tokens != expected:
            raise InputError(
                f"{place} has another {name.replace('_', ' ')} of {len(tokens)} tokens",
                f"must be that of the corpus, {len(expected)} tokens",
                "use the corpus of that run, or another workdir",
            )


def by_path(tree: PyTree) -> dict[str, np.ndarray]:
    """Returns the arrays of a tree on the host by their paths, except those without elements.

    A checkpoint therefore holds no structure, whose tuples orbax would turn into dicts. Arrays
    without elements are left out because orbax refuses them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if leaf.size}


def checksum_json(content: Any) -> int:
    """Returns the CRC-32 of a value as JSON; the order of keys does not matter."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def checksum_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Returns the CRC-32 of each array, which detects any single flipped bit."""
    return {
        # As bytes, because numpy exports no buffer of bfloat16.
        name: zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        for name, array in arrays.items()
    }
