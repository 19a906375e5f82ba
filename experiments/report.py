"""Makes the table of all runs in experiments/README.md from their logs, and redraws the pictures.

    python experiments/report.py
    python experiments/report.py --parts=table

A run is a folder here that has a metrics.jsonl; those named NAME-SEED are one row, of means and
ranges. The commit is the latest one that changed the log, so run this again after you commit one.
What the logs do not say (hardware, published numbers, what to know) is in this file. The pictures
need matplotlib. `ntm_weights.py` needs a checkpoint, which is not kept: its picture stays.
"""

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import some_of
from experiments.logs import read_epochs, read_seconds
from experiments.pictures import pyplot
from experiments.seq2seq_table import PUBLISHED
from experiments.tables import markdown, spread

HERE = Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- runs: made by report.py -->\n", "<!-- end of runs -->\n"
COMMIT = "commit of the log"
COLUMNS = (
    *("recipe", "epochs", "measure", "valid", "test", "published"),
    *("seconds", "hardware", COMMIT, "log", "note"),
)
# What a run is judged by, the first that its log has: in words, from the log's value, the best of.
MEASURES: dict[str, tuple[str, Callable[[float], float], Callable[..., float]]] = {
    "exact_match": ("exact match, %", lambda share: 100 * share, max),
    "accuracy": ("accuracy, %", lambda share: 100 * share, max),
    "wrong_bits": ("wrong bits", float, min),
    "nll": ("perplexity", math.exp, min),
}
# The recipes of runs whose config.json was not kept.
RECIPES = {
    "cells/adaptive": "ptb_small_adaptive",
    "cells/gru": "ptb_small_gru",
    "cells/lstm": "ptb_small",
    "cells/qrnn": "ptb_small_qrnn",
    "cells/residual": "ptb_small",
    "cells/rnn": "ptb_small_rnn",
    "transformer/ptb_transformer": "ptb_small_transformer",
    "transformer/ptb_transformer_xl": "ptb_small_transformer_xl",
    "transformer/synthetic_gru": "ptb_small_gru",
    "transformer/synthetic_lstm": "ptb_small",
    "transformer/synthetic_lstm_rate_5": "ptb_small",
    "transformer/synthetic_transformer": "ptb_small_transformer",
    "transformer/synthetic_transformer_xl": "ptb_small_transformer_xl",
}
# Of folders that begin so; of others 2 CPU cores.
HARDWARE = dict.fromkeys(
    ("seq2seq/addition", "seq2seq/gnmt_small", "ptb_small/", "ptb_rnnlm"), "1 CPU core"
)
SOURCE = "13.08, of the source"
PUBLISHED_HERE = {
    **{f"seq2seq/{name}": number for name, number in PUBLISHED.items()},
    **dict.fromkeys(("quickstart", "averaging"), SOURCE),
    **{name: SOURCE for name in RECIPES if "synthetic" in name},
    "ntm/ntm_copy": "below 0.1",
    "ptb_rnnlm": "137.0, of its log",
}
BESIDE = "beside other work: the seconds are an upper bound"
ROUNDED = "other CPUs and versions of jax end at 13.3 to 13.8"
NOTES = {
    **dict.fromkeys(("quickstart", "averaging"), f"{ROUNDED}; {BESIDE}"),
    "ptb_small/jax": BESIDE,
    "ptb_small/torch": f"ptb_small_torch.py; {BESIDE}",
    "ptb_epoch": f"the first of 500 epochs; {BESIDE}",
    **{f"cells/{name}": BESIDE for name in ("gru", "lstm", "qrnn", "rnn")},
    "cells/residual": "residual layers",
    "cells/adaptive": f"before its clusters were arrays of their own; {BESIDE}",
    "seq2seq/addition_attention": "dot attention, source reversed",
    "seq2seq/addition_bidirectional": "general attention, bidirectional",
    **{
        f"seq2seq/{name}": BESIDE
        for name in ("dates_attention", "dates_by_date", "reverse_attention", "gnmt_small")
    },
    **{
        f"transformer/synthetic_{name}": f"on the built-in corpus; {BESIDE}"
        for name in ("gru", "lstm", "transformer", "transformer_xl")
    },
    "transformer/synthetic_lstm_rate_5": f"on the built-in corpus, at a rate of 5; {BESIDE}",
    **{f"ntm/{name}": BESIDE for name in ("ntm_copy", "lstm_copy", "ntm_associative_recall")},
}


class Run(NamedTuple):
    """What the logs of one folder say."""

    folder: Path
    recipe: str
    measure: str
    valid: float  # of the best model; of an unfinished run the best epoch's
    test: float | None  # None before the end
    epochs: str
    seconds: float


def read_run(folder: Path) -> Run:
    """Reads a folder."""
    name = str(folder.relative_to(HERE))
    config, result = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for path in (folder / "config.json", folder / "result.json")
    )
    if not config and name not in RECIPES:
        sys.exit(f"{folder}: has no config.json: add one, or a row in RECIPES")
    recipe = config["name"] if config else RECIPES[name]
    recipe = f"`{recipe}.py`" if (HERE.parent / "configs" / f"{recipe}.py").exists() else recipe
    epochs = read_epochs(folder)
    key = next(key for key in MEASURES if f"valid_{key}" in epochs[-1])
    measure, tell, best = MEASURES[key]
    valid = best(epoch[f"valid_{key}"] for epoch in epochs)
    asked = f" of {config['train.num_epochs']}" if config and not result else ""
    return Run(
        folder=folder,
        recipe=recipe + ", in PyTorch" * ("torch" in config),
        measure=measure,
        valid=tell(result[f"valid_{key}"] if result else valid),
        test=tell(result[f"test_{key}"]) if result else None,
        epochs=f"{len(epochs)}{asked}",
        seconds=sum(read_seconds(folder)),
    )


def run_rows(commit_of: Callable[[list[Path]], str]) -> Iterator[list[str]]:
    """A row for each name of a run."""
    groups: dict[str, list[Run]] = {}
    for path in sorted(HERE.rglob("metrics.jsonl")):
        name = re.sub(r"-\d+$", "", str(path.parent.relative_to(HERE)))
        groups.setdefault(name, []).append(read_run(path.parent))
    for name, runs in groups.items():
        folders = [run.folder for run in runs]
        links = (f"[{f.relative_to(HERE)}]({f.relative_to(HERE)}/)" for f in folders)
        yield [
            runs[0].recipe,
            ", ".join(sorted({run.epochs for run in runs})),
            runs[0].measure,
            spread(run.valid for run in runs),
            spread(run.test for run in runs if run.test is not None),
            PUBLISHED_HERE.get(name, ""),
            f"{median(run.seconds for run in runs):,.0f}",
            hardware(name),
            commit_of([folder / "metrics.jsonl" for folder in folders]),
            ", ".join(links),
            NOTES.get(name, ""),
        ]


def hardware(folder: str) -> str:
    """Where the run of a folder ran."""
    named = (where for start, where in HARDWARE.items() if folder.startswith(start))
    return next(named, "2 CPU cores")


def dynamic_rows(commit_of: Callable[[list[Path]], str]) -> Iterator[list[str]]:
    """A row for each way in which `--task=dynamic` evaluates a model without training it again."""
    for path in sorted(HERE.rglob("dynamic.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        folder, recipe = str(path.parent.relative_to(HERE)), read_run(path.parent).recipe
        for kind in ("cache", "dynamic", "dynamic_cache"):
            yield [
                f"{recipe}, {kind.replace('_', ' and ')}",
                *("", "perplexity"),
                *(f"{found[split][kind]['perplexity']:.2f}" for split in ("valid", "test")),
                "",
                f"{sum(found[split][kind]['seconds'] for split in ('valid', 'test')):,.0f}",
                *(hardware(folder), commit_of([path]), f"[{folder}]({folder}/)"),
                "",
            ]


def make_table(commit_of: Callable[[list[Path]], str]) -> str:
    """The table, with the commits that a function tells of some files."""
    return markdown(COLUMNS, [*run_rows(commit_of), *dynamic_rows(commit_of)])


def latest_commits(paths: list[Path]) -> str:
    """The commits that changed these files last, without repeats; "" of new ones."""
    command = ["git", "log", "-1", "--format=%h", "--abbrev=7", "--"]
    found = (
        subprocess.run([*command, path], cwd=HERE, capture_output=True, text=True, check=True)
        for path in paths
    )
    return ", ".join(dict.fromkeys(done.stdout.strip() for done in found))


def write_table() -> None:
    """Puts the table into the README, between its marks."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(before + BEGIN + make_table(latest_commits) + END + after, encoding="utf-8")


def draw_runs() -> None:
    """The curves of runs, as `--task=plot` draws them."""
    from awd_jax.tasks.pictures import load_figure, save_figure
    from awd_jax.tasks.plot import draw, read_run

    figure_class = load_figure("plot")
    for picture, names, is_perplexity in (
        ("averaging/plot.png", ["averaging"], True),
        ("cells/plot.png", ["cells/gru", "cells/lstm", "cells/qrnn", "cells/rnn"], True),
        ("ntm/plot.png", [f"ntm/ntm_copy-{seed}" for seed in range(3)], False),
    ):
        runs = [read_run(HERE / name, name.split("/")[-1]) for name in names]
        save_figure(draw(figure_class, runs, is_perplexity), HERE / picture)


def draw_frameworks() -> None:
    """The curves of one recipe in two frameworks, all seeds of each in one colour."""
    plt = pyplot()
    figure, (whole, end) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    for colour, framework in enumerate(("jax", "torch")):
        for number, folder in enumerate(sorted(HERE.glob(f"ptb_small/{framework}-*"))):
            epochs = read_epochs(folder)
            for key, style, what in (("train", "--", "train, dropout on"), ("valid", "-", "valid")):
                values = [math.exp(epoch[f"{key}_nll"]) for epoch in epochs]
                label = f"{framework}: {what}" if number == 0 else None
                line = {"linestyle": style, "color": f"C{colour}", "label": label}
                whole.plot(range(1, len(values) + 1), values, **line)
                if key == "valid":
                    end.plot(range(8, len(values) + 1), values[7:], **line)
    whole.set(yscale="log")
    for axes in (whole, end):
        axes.set(xlabel="epoch", ylabel="perplexity")
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(HERE / "ptb_small" / "plot.png", dpi=100)


def draw_seq2seq() -> None:
    """The table and the curves of runs of sequence to sequence."""
    from experiments import seq2seq_table

    workdirs = sorted(str(path.parent) for path in HERE.glob("seq2seq/*/metrics.jsonl"))
    seq2seq_table.main(seq2seq_table.parse_arguments(workdirs))


def draw_pretraining() -> None:
    """The table and the curves of classifiers."""
    from experiments import pretraining

    folder = HERE / "pretraining"
    pretraining.write(pretraining.read_results(folder / "results.jsonl"), folder)


def draw_benchmark() -> None:
    """The tables of the benchmark, and its scale."""
    from experiments import benchmark_report

    path = str(HERE / "benchmark" / "benchmark.json")
    benchmark_report.main(benchmark_report.parse_arguments([path]))


def draw_studies() -> None:
    """The tables and pictures of ablation.py and agreement.py."""
    from experiments import ablation, agreement

    ablation.write(HERE / "ablation")
    agreement.write(HERE / "agreement")


PICTURES = (
    draw_runs,
    draw_frameworks,
    draw_seq2seq,
    draw_pretraining,
    draw_benchmark,
    draw_studies,
)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ["table", "pictures"]
    parser.add_argument("--parts", type=some_of(*parts), default=parts)
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """Makes the parts."""
    if "pictures" in options.parts:
        for draw in PICTURES:
            draw()
    if "table" in options.parts:
        write_table()


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
