"""Plots the validation and training perplexity of runs against epochs.

python experiments/plot_curves.py OUT.png WORKDIR [WORKDIR ...]
"""

import argparse
import json
import math
import sys
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import directory_with


def read_epochs(workdir: Path) -> list[dict]:
    """The last line of each epoch in the metrics log."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "valid_nll" in line]


def pyplot() -> ModuleType:
    """The module that draws, into files."""
    try:
        import matplotlib
    except ImportError:
        sys.exit("needs matplotlib: pip install '.[plot]'")
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.png")
    runs = directory_with("metrics.jsonl")
    parser.add_argument("workdirs", type=runs, nargs="+", metavar="WORKDIR")
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """Draws one pair of curves for each workdir."""
    figure, axes = pyplot().subplots(figsize=(7, 4.5), layout="constrained")
    for workdir in options.workdirs:
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
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=120)


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
