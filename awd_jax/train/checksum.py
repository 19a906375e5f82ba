"""Checksums of what a checkpoint holds: CRC-32, which finds every flipped bit."""

import json
import zlib
from typing import Any

import jax
import numpy as np


def checksum_json(content: Any) -> int:
    """Of a value as JSON, whatever the order of its keys."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def checksum_arrays(tree: Any) -> dict[str, int]:
    """Of each array in a tree on the host, by its path."""
    return {
        # As bytes: numpy gives no buffer of bfloat16.
        jax.tree_util.keystr(path): zlib.crc32(
            np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
