"""What each part of an AWD-LSTM is worth: a run without it, for each row of the paper's table 4.

    python experiments/ablation.py --workdir=DIR
    python experiments/ablation.py --workdir=DIR --recipe=configs/ptb.py --finetune_epochs=500

The first takes ablation_recipe.py, which a CPU finishes in an hour or two; the second is the full
size, for a GPU, in another DIR. Each run is trained and then finetuned, and its best model is
tested. Without averaging it is not finetuned, as that is averaging. Runs with a result are not run
again, and one that was stopped goes on. Writes results.jsonl, a line for each run, into --out, and
from it table.md and, with matplotlib, deltas.png: the change of the test perplexity in percent of
the full model's, ours (mean and range over the seeds, each against the full model of its seed) and
that of Merity et al. 2018.
"""

import argparse
import json
import runpy
import sys
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import numpy as np
from ml_collections import ConfigDict

from experiments import command
from experiments.arguments import at_least, file, some_of
from experiments.logs import add_result, read_results
from experiments.pictures import pyplot
from experiments.tables import leave_table, markdown, spread

FULL = "nothing"


class Row(NamedTuple):
    """What a row changes, and the paper's test perplexities on PTB and WikiText-2, finetuned."""

    changes: dict[str, Any]  # values by field; a name stands for the value of that field of `model`
    ptb: float | None
    wt2: float | None
    is_finetuned: bool = True


ROWS = {  # without ...
    FULL: Row({}, 57.3, 65.8),
    "finetuning": Row({}, 58.8, 66.0, is_finetuned=False),
    "NT-ASGD": Row({"optimizer.averaging": False}, 63.7, 69.7, is_finetuned=False),
    "random windows": Row({"train.random_windows": False}, 58.9, 66.2),
    "embedding dropout": Row({"model.embed_dropout_rate": 0.0}, 62.7, 68.1),
    "weight decay": Row({"optimizer.weight_decay": 0.0}, 61.0, 68.7),
    "AR and TAR": Row(
        {"train.activation_reg": 0.0, "train.temporal_activation_reg": 0.0}, 60.3, 70.1
    ),
    "a narrow embedding": Row({"model.embed_dim": "hidden_dim"}, 65.6, 70.7),
    "weight drop": Row({"model.weight_drop_rate": 0.0}, 68.9, 74.9),
    "undropped input weights": Row(
        {"model.input_weight_drop_rate": "weight_drop_rate"}, None, None
    ),
}


def overrides(row: Row, model: ConfigDict) -> dict[tuple[str, str], Any]:
    """The values of a row by group and field, for a recipe with this group `model`."""
    return {
        tuple(field.split(".")): model[value] if isinstance(value, str) else value
        for field, value in row.changes.items()
    }


def run(options: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """Trains, finetunes and tests; returns nats a token."""
    row, recipe = ROWS[name], options.recipe.resolve()
    model = runpy.run_path(str(recipe))["get_config"]().model
    # Without finetuning is the full model before it is finetuned.
    workdir = options.workdir / f"{[*ROWS].index(name if row.changes else FULL)}-{seed}"
    flags = [f"--config.{g}.{field}={v}" for (g, field), v in overrides(row, model).items()]
    stages = {"train": (workdir, [f"--config.train.seed={seed}"])}
    if row.is_finetuned:
        own = [f"--config.train.seed={seed + 1000}"]  # windows and masks it has not seen
        own += [f"--config.train.num_epochs={options.finetune_epochs}"]
        stages["finetune"] = (workdir / "finetune", own)
    for task, (directory, own) in stages.items():
        result = directory / "result.json"
        if not result.exists():
            command.run(str(recipe), task, workdir, *flags, *own)
    found = json.loads(result.read_text())
    return {split: found[f"{split}_nll"] for split in ("valid", "test")}


def changes(results: list[dict], name: str) -> list[float]:
    """Percent by which the test perplexity of each seed changes."""
    full = {r["seed"]: r["test"] for r in results if r["row"] == FULL}
    runs = [r for r in results if r["row"] == name and r["seed"] in full]
    return [100 * np.expm1(r["test"] - full[r["seed"]]) for r in runs]


def paper(name: str, corpus: str) -> float | None:
    """The paper's change in percent."""
    value, full = getattr(ROWS[name], corpus), getattr(ROWS[FULL], corpus)
    return None if value is None else 100 * (value / full - 1)


def perplexity(results: list[dict], name: str, split: str) -> str:
    """Mean and range over the seeds."""
    return spread(np.exp(r[split]) for r in results if r["row"] == name)


def signed(value: float | None) -> str:
    """A change, or nothing."""
    return "" if value is None else f"{value:+.1f}"


def names_of(results: list[dict]) -> list[str]:
    """The rows that have a run, in their order."""
    return [name for name in ROWS if any(r["row"] == name for r in results)]


def make_table(results: list[dict]) -> str:
    """A row for each part that is left out."""
    columns = ["without", "seeds", "valid", "test", "change, %", "paper, PTB", "paper, WT2"]
    rows = []
    for name in names_of(results):
        ours = changes(results, name)
        change = f"{mean(ours):+.2f} ({min(ours):+.2f} to {max(ours):+.2f})" if name != FULL else ""
        cells = [name, f"{len(ours)}", *(perplexity(results, name, s) for s in ("valid", "test"))]
        theirs = [signed(paper(name, c)) if name != FULL else "" for c in ("ptb", "wt2")]
        rows.append([*cells, change, *theirs])
    return markdown(columns, rows)


def draw(results: list[dict], path: Path) -> None:
    """Draws the changes of each row as bars, one for each corpus."""
    names = [name for name in names_of(results) if name != FULL]
    figure, (left, right) = pyplot().subplots(
        1, 2, figsize=(10, 4), sharey=True, layout="constrained"
    )
    ours = [changes(results, name) for name in names]
    places = np.arange(len(names))
    left.barh(places, list(map(mean, ours)))
    for place, values in zip(places, ours, strict=True):
        left.plot(values, [place] * len(values), "k.")
    left.set(title="ours, a dot for each seed", yticks=places, yticklabels=names)
    for offset, corpus in ((-0.2, "ptb"), (0.2, "wt2")):
        theirs = [np.nan if (change := paper(name, corpus)) is None else change for name in names]
        right.barh(places + offset, theirs, height=0.4, label=f"Merity et al., {corpus}")
    right.legend()
    for axes in (left, right):
        axes.set(xlabel="change of the test perplexity, percent")
        axes.grid(axis="x", alpha=0.3)
    left.invert_yaxis()
    figure.savefig(path, dpi=120)


def write(out: Path) -> None:
    """Writes the table and the picture of the results in a directory."""
    results = read_results(out)
    leave_table(out, make_table(results))
    draw(results, out / "deltas.png")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument(
        "--recipe", type=file, default=Path(__file__).with_name("ablation_recipe.py")
    )
    parser.add_argument("--rows", type=some_of(*ROWS), default=ROWS)
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--finetune_epochs", type=at_least(1), default=10)
    parser.add_argument("--out", type=Path, help="default: DIR")
    options = parser.parse_args(argv)
    options.out = options.out or options.workdir
    return options


def main(options: argparse.Namespace) -> None:
    """Runs what is missing, seed by seed."""
    options.out.mkdir(parents=True, exist_ok=True)
    done = {(result["row"], result["seed"]) for result in read_results(options.out)}
    for seed in range(options.seeds):
        for name in dict.fromkeys([FULL, *options.rows]):  # what the others are compared with
            if (name, seed) not in done:
                found = run(options, name, seed)
                add_result(options.out, {"row": name, "seed": seed} | found)
    write(options.out)


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
