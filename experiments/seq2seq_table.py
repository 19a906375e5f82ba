"""Makes the table and the curves of runs of sequence to sequence, each of some seeds.

    python experiments/seq2seq_table.py WORKDIR [WORKDIR ...]

Workdirs are named NAME-SEED; what a run printed may be in it as log.txt, and tells the parameters.
Writes table.md and, with matplotlib, curves.png. A row is a NAME: percent of exact matches, mean
and range over the seeds, and of all their epochs the median of the seconds, with validation. The
best epoch is what the recipe says, the first of equals; test is of it. The curves are means over
seeds in their range, up to the last epoch that all seeds have.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import directory_with
from experiments.logs import read_epochs, read_seconds
from experiments.pictures import pyplot
from experiments.tables import leave_table, markdown, spread

MEASURE = "exact_match"
# Percent, of the book Deep Learning from Scratch 2 (over 80: its words) or logs of its code.
PUBLISHED = {
    "addition": "10.8",
    "addition_reversed": "54.1",
    "addition_peeky": "over 80",
    "addition_reversed_peeky": "99.3 (97.0 in another log)",
    "dates_attention": "99.9",
}
COLUMNS = (
    "run",
    "seeds",
    "parameters",
    "test exact match, best epoch",
    "valid exact match, last epoch",
    "best epoch",
    "epochs",
    "s an epoch",
    "published",
)


class Run(NamedTuple):
    """What one run has written so far."""

    name: str
    seed: int
    parameters: str  # "" if they are not known
    num_epochs: int  # of the recipe
    valid: list[float]  # after each epoch, in percent
    best: int  # number of an epoch; 0 before there is one
    test: float | None  # in percent; None before the end
    seconds: list[float]  # of each epoch


def read_run(workdir: Path) -> Run:
    """Reads a workdir."""
    parts = re.fullmatch(r"(.+)-(\d+)", workdir.name)
    if not parts:
        sys.exit(f"{workdir}: must be named NAME-SEED")
    epochs = read_epochs(workdir)
    config = json.loads((workdir / "config.json").read_text())
    log = workdir / "log.txt"
    counted = re.search(r"^([\d,]+) parameters", log.read_text(), re.M) if log.exists() else None
    result = workdir / "result.json"
    by = config["train.best_by"]
    sign = 1 if by == "nll" else -1
    best = min(epochs, key=lambda epoch: sign * epoch[f"valid_{by}"], default={"epoch": 0})
    return Run(
        name=parts[1],
        seed=int(parts[2]),
        parameters=counted[1] if counted else "",
        num_epochs=config["train.num_epochs"],
        valid=[100 * epoch[f"valid_{MEASURE}"] for epoch in epochs],
        best=best["epoch"],
        test=100 * json.loads(result.read_text())[f"test_{MEASURE}"] if result.exists() else None,
        seconds=read_seconds(workdir),
    )


def each(values: Iterable[str]) -> str:
    """The values, or one if they are all the same."""
    values = list(values)
    return ", ".join(values if len(set(values)) > 1 else values[:1])


def row(runs: list[Run]) -> list[str]:
    """The cells of a name. An unfinished run counts with its last epoch, and not for test."""
    seconds = median(s for run in runs for s in run.seconds)
    done = [f"{len(run.valid)}" + f" of {run.num_epochs}" * (run.test is None) for run in runs]
    return [
        runs[0].name,
        ", ".join(str(run.seed) for run in runs),
        next((run.parameters for run in runs if run.parameters), ""),
        spread(run.test for run in runs if run.test is not None),
        spread(run.valid[-1] for run in runs),
        each(str(run.best) for run in runs),
        each(done),
        f"{seconds:.1f}",
        PUBLISHED.get(runs[0].name, ""),
    ]


def draw(groups: Iterable[list[Run]], path: Path) -> None:
    """Draws a line and a band for each name."""
    figure, axes = pyplot().subplots(figsize=(7, 4.5), layout="constrained")
    for runs in groups:
        by_epoch = list(zip(*(run.valid for run in runs), strict=False))
        numbers = range(1, len(by_epoch) + 1)
        (line,) = axes.plot(numbers, [mean(v) for v in by_epoch], marker=".", label=runs[0].name)
        lowest, highest = [min(v) for v in by_epoch], [max(v) for v in by_epoch]
        axes.fill_between(numbers, lowest, highest, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch", ylabel="exact matches of valid, percent", ylim=(-2, 102))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    runs = directory_with("metrics.jsonl", "timing.jsonl")
    parser.add_argument("workdirs", type=runs, nargs="+", metavar="WORKDIR")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "seq2seq")
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """Writes the table, prints it, and draws the curves."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(map(read_run, options.workdirs), key=lambda run: run[:2]):
        if run.valid:
            groups.setdefault(run.name, []).append(run)
        else:
            print(f"{run.name}-{run.seed} is left out: no epoch yet", file=sys.stderr)
    leave_table(options.out, markdown(COLUMNS, map(row, groups.values())))
    draw(groups.values(), options.out / "curves.png")


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
