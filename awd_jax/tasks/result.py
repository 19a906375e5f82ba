"""The result of a task as a file."""

import json
import math
from pathlib import Path
from typing import Any

from awd_jax.core import losses
from awd_jax.data.corpus import Corpus
from awd_jax.errors import StorageError


def write_result(
    workdir: Path, name: str, corpus: Corpus, valid_nll: float, test_nll: float
) -> None:
    """Writes WORKDIR/NAME.json: nats, perplexity and bits per token; null if not finite.

    Raises:
      StorageError: it cannot be written.
    """
    nlls = {"valid": valid_nll, "test": test_nll}
    if corpus.entropy is not None:
        nlls["source"] = corpus.entropy
    result = {}
    for of, nll in nlls.items():
        result[f"{of}_nll"] = nll
        result[f"{of}_perplexity"] = float(losses.perplexity(nll))
        result[f"{of}_bits"] = float(losses.bits_per_token(nll))
    finite = {key: value if math.isfinite(value) else None for key, value in result.items()}
    write_json(workdir, name, finite)


def write_json(workdir: Path, name: str, content: dict[str, Any]) -> None:
    """Writes WORKDIR/NAME.json, whole or not at all.

    Raises:
      StorageError: it cannot be written.
    """
    path = workdir / f"{name}.json"
    try:
        part = path.with_suffix(".json.part")
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        part.replace(path)
    except OSError as error:
        raise StorageError(str(path), error) from error
