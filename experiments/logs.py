"""What scripts that read the logs of runs share."""

import json
from pathlib import Path


def read_lines(path: Path) -> list[dict]:
    """The lines of a log, each an object of JSON."""
    return list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))


def read_results(out: Path) -> list[dict]:
    """The lines of results.jsonl in a directory: none before the first run."""
    path = out / "results.jsonl"
    return read_lines(path) if path.exists() else []


def add_result(out: Path, result: dict) -> None:
    """Adds a line to it."""
    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def read_epochs(workdir: Path) -> list[dict]:
    """The last line of each epoch in the metrics log."""
    return [line for line in read_lines(workdir / "metrics.jsonl") if "valid_nll" in line]


def read_seconds(workdir: Path) -> list[float]:
    """The seconds of each epoch, with its validation."""
    lines = read_lines(workdir / "timing.jsonl")
    return [line["train_seconds"] + line["valid_seconds"] for line in lines]
