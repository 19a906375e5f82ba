"""What a classifier gains from a language model: with and without, at several numbers of labels.

    python experiments/pretraining.py --workdir=DIR

Trains the language model of quickstart.py in DIR/lm, and classifiers of ulmfit_small.py: from it as
the recipe says, from nothing with all layers at one rate from the first step on, and so from it.
Runs that have a result are not run again. Writes table.md and, with matplotlib, curves.png:
accuracy on test in percent, mean and range over the seeds. Test has 2,000 documents, of which the
most frequent class has 32 %.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments import command
from experiments.arguments import at_least, counts
from experiments.logs import read_lines
from experiments.pictures import pyplot
from experiments.tables import leave_table, markdown, spread

ONE_RATE = ("--config.optimizer.thaw_epochs=0", "--config.optimizer.layer_rate_factor=1.0")
# Of each start: the task, and what it changes in the recipe.
STARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "language model, thawed in turn": ("classify", ()),
    "nothing": ("train", ONE_RATE),
    "language model, one rate": ("classify", ONE_RATE),
}


def accuracy(options: argparse.Namespace, start: str, num_labels: int, seed: int) -> float:
    """The accuracy on test of one run, in percent."""
    task, flags = STARTS[start]
    name = f"{[*STARTS].index(start)}-{num_labels}-{seed}"
    own = options.workdir / "lm" if task == "classify" else options.workdir / "nothing" / name
    workdir = own / name if task == "classify" else own
    if not (workdir / "result.json").exists():
        command.run(
            *("configs/ulmfit_small.py", task, own),
            *(f"--config.name={name}", f"--config.data.max_examples={num_labels}"),
            *(f"--config.train.seed={seed}", *flags),
        )
    return 100 * json.loads((workdir / "result.json").read_text())["test_accuracy"]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--labels", type=counts, default=[100, 500, 2000])
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pretraining")
    return parser.parse_args(argv)


Found = dict[str, dict[int, list[float]]]  # accuracies by start and number of labels


def read_results(path: Path) -> Found:
    """The accuracies in a results.jsonl, whose runs are named START-LABELS-SEED."""
    found: Found = {start: {} for start in STARTS}
    for result in read_lines(path):
        if result["run"] != "lm":
            start, num_labels, _ = map(int, result["run"].split("-"))
            of_start = found[[*STARTS][start]]
            of_start.setdefault(num_labels, []).append(100 * result["test_accuracy"])
    return {start: dict(sorted(by_number.items())) for start, by_number in found.items()}


def write(found: Found, out: Path) -> None:
    """Writes the table, prints it, and draws it."""
    labels = list(next(iter(found.values())))
    columns = ["start", *(f"{n:,} labels" for n in labels)]
    rows = ([start, *map(spread, by_number.values())] for start, by_number in found.items())
    leave_table(out, markdown(columns, rows))
    figure, axes = pyplot().subplots(figsize=(6, 4), layout="constrained")
    for start, by_number in found.items():
        values = list(by_number.values())
        (line,) = axes.plot(labels, list(map(mean, values)), marker="o", label=start)
        lowest, highest = list(map(min, values)), list(map(max, values))
        axes.fill_between(labels, lowest, highest, color=line.get_color(), alpha=0.2)
    axes.set(xlabel="labelled documents", ylabel="accuracy on test, percent", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out / "curves.png", dpi=120)


def main(options: argparse.Namespace) -> None:
    """Runs what has not been run, and writes what was found."""
    if not (options.workdir / "lm" / "result.json").exists():
        base = options.workdir / "lm"
        command.run("configs/quickstart.py", "train", base, "--config.train.num_samples=0")
    found = {
        start: {
            n: [accuracy(options, start, n, seed) for seed in range(options.seeds)]
            for n in options.labels
        }
        for start in STARTS
    }
    write(found, options.out)


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
