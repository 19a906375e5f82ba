"""Plots the validation and training perplexity of runs against epochs.

python experiments/plot_curves.py OUT.png WORKDIR [WORKDIR ...]
"""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def read_epochs(workdir: Path) -> list[dict]:
    """The lines of the metrics log that end an epoch."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "valid_nll" in line]


def main(out: str, *workdirs: str) -> None:
    """Draws one pair of curves for each workdir."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for workdir in map(Path, workdirs):
        epochs = read_epochs(workdir)
        numbers = [line["epoch"] for line in epochs]
        for key, style, what in (
            ("train_nll", "--", "train, dropout on"),
            ("raw_valid_nll", ":", "valid, raw iterates"),
            ("valid_nll", "-", "valid"),
        ):
            points = [
                (n, math.exp(e[key])) for n, e in zip(numbers, epochs, strict=True) if key in e
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True), style, marker=".", label=f"{workdir.name}: {what}"
                )
    axes.set(xlabel="epoch", ylabel="perplexity", yscale="log")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
