"""What scripts that read the logs of runs share."""

import json
from pathlib import Path


def read_lines(path: Path) -> list[dict]:
    """The lines of a log, each an object of JSON."""
    return list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))


def read_epochs(workdir: Path) -> list[dict]:
    """The last line of each epoch in the metrics log."""
    return [line for line in read_lines(workdir / "metrics.jsonl") if "valid_nll" in line]


def read_seconds(workdir: Path) -> list[float]:
    """The seconds of each epoch, with its validation."""
    lines = read_lines(workdir / "timing.jsonl")
    return [line["train_seconds"] + line["valid_seconds"] for line in lines]
