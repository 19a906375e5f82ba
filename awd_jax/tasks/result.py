"""The result of a task: what it prints, and the same as a JSON file in the workdir."""

import math
from pathlib import Path
from typing import Any

from awd_jax import output
from awd_jax.data.corpus import Corpus
from awd_jax.errors import StorageError, one_line
from awd_jax.files import to_json, whole_file
from awd_jax.run.report import perplexity


def as_result(corpus: Corpus, valid_nll: float, test_nll: float) -> dict[str, float]:
    """Both losses, and that of the source where it is known: nats, perplexity, bits per token."""
    nlls = {"valid": valid_nll, "test": test_nll}
    if corpus.entropy is not None:
        nlls["source"] = corpus.entropy
    result = {}
    for of, nll in nlls.items():
        result[f"{of}_nll"] = nll
        result[f"{of}_perplexity"] = perplexity(nll)
        result[f"{of}_bits"] = nll / math.log(2)
    return result


def write_json(workdir: Path, name: str, content: dict[str, Any]) -> None:
    """Writes WORKDIR/NAME.json, whole or not at all; a number that is not finite becomes null.

    Raises:
      StorageError: it cannot be written.
    """
    path = workdir / f"{name}.json"
    try:
        with whole_file(path) as file:
            file.write(to_json(content, indent=2).encode() + b"\n")
    except OSError as error:
        raise StorageError(str(path), error) from error


def leave_json(workdir: Path, name: str, content: dict[str, Any]) -> None:
    """`write_json` of what is printed as well: a by-product, which does not decide over the task.

    Where it cannot be written, as in a workdir that is read-only, a note says so. Called before
    the print, so that the file is there though the print fails.
    """
    try:
        write_json(workdir, name, content)
    except StorageError as error:
        reason = one_line(error.__cause__ or error)
        output.complain(f"note: {workdir / name}.json cannot be written ({reason})")
