"""The result of a task, as a JSON file in the workdir."""

import math
from pathlib import Path
from typing import Any

from awd_jax import output
from awd_jax.errors import StorageError, one_line
from awd_jax.files import to_json, whole_file
from awd_jax.run.report import perplexity
from awd_jax.train.validation import Validated


def as_result(source_nll: float | None, valid: Validated, test: Validated) -> dict[str, Any]:
    """Returns losses, and the source's if known, in nats, perplexity and bits per token; and
    measures."""
    nlls = {"valid": valid.nll, "test": test.nll}
    if source_nll is not None:
        nlls["source"] = source_nll
    result: dict[str, Any] = {}
    for name, nll in nlls.items():
        result[f"{name}_nll"] = nll
        result[f"{name}_perplexity"] = perplexity(nll)
        result[f"{name}_bits"] = nll / math.log(2)
    return result | valid.result("valid") | test.result("test")


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
    """Calls `write_json`, but only prints a note if the file cannot be written.

    The content is printed as well, so a read-only workdir does not fail the task. Call it before
    printing, so that the file exists even if the print fails.
    """
    try:
        write_json(workdir, name, content)
    except StorageError as error:
        reason = one_line(error.__cause__ or error)
        output.complain(f"note: {workdir / name}.json cannot be written ({reason})")
