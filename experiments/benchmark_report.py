"""Makes the tables of a benchmark, and plots how its training step scales.

    python experiments/benchmark_report.py runs/benchmark/benchmark.json

Writes benchmark.md beside it and, if matplotlib is installed and part `scale` was measured,
scale.png. Numbers are medians over the rounds. torch/jax is the median (and range) of the ratio of
seconds within a round: above 1, awd_jax is faster. Memory is the peak of the whole process. GFLOP
counts the step's matrix products: while GFLOP/s do not fall, time grows no faster than arithmetic.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import file
from experiments.tables import markdown

SIZES = ("vocab", "hidden", "batch", "time")
NAMES = ("jax", "torch", "torch tuned")
Case = dict[str, Any]
Row = dict[str, str]


def gflops(case: Case, num_layers: int) -> float:
    """GFLOP of a step's products: 2 operations each, twice as many backward as forward."""
    inner = [case["hidden"]] * (num_layers - 1)
    dims = zip([case["embed"], *inner], [*inner, case["embed"]], strict=True)
    weights = sum(4 * h * (d + h) for d, h in dims) + case["embed"] * case["vocab"]
    return 6e-9 * case["time"] * case["batch"] * weights


def ratio(case: Case, kind: str) -> Row:
    """The seconds of PyTorch over those of awd_jax, for each PyTorch that was timed."""
    row = {}
    for name in (name for name in NAMES[1:] if name in case):
        ratios = [t / j for t, j in zip(case[name][kind], case["jax"][kind], strict=True)]
        row[f"{name}/jax"] = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return row


def what(case: Case) -> Row:
    """The sizes of a case and, if it failed, the reason."""
    return {name: f"{case[name]:,}" for name in SIZES} | (
        {"jax s": case["failed"]} if "failed" in case else {}
    )


def train_kind(case: Case) -> str:
    """The job of a training case."""
    return next((kind for kind in case.get("jax", {}) if kind.startswith("train")), "train")


def train_row(case: Case, num_layers: int) -> Row:
    """One training step."""
    kind, gflop = train_kind(case), gflops(case, num_layers)
    row = what(case)
    if "failed" in case:
        return row
    row |= {"averaging": "on" if "averaging" in kind else "off"}
    row |= {f"{n} s": f"{median(case[n][kind]):.4g}" for n in NAMES if n in case}
    row |= ratio(case, kind) | {"GFLOP": f"{gflop:.3g}"}
    row |= {f"{n} GFLOP/s": f"{gflop / median(case[n][kind]):.1f}" for n in NAMES if n in case}
    return row | {f"{n} MiB": f"{case[n]['memory_mib']:,.0f}" for n in NAMES if n in case}


def product_rows(case: Case) -> Iterator[Row]:
    """The bare matrix products of one training step, and the step's time relative to them."""
    for name in NAMES:
        if name in case and "input products" in case[name]:
            seconds = {k: median(v) for k, v in case[name].items() if k.endswith("products")}
            sums = map(sum, zip(*(case[name][kind] for kind in seconds), strict=True))
            steps = [t / s for t, s in zip(case[name]["train"], sums, strict=True)]
            yield {
                "batch": str(case["batch"]),
                "": name,
                **{f"{kind} s": f"{value:.4g}" for kind, value in seconds.items()},
                "sum s": f"{sum(seconds.values()):.4g}",
                "step/products": f"{median(steps):.2f} ({min(steps):.2f}-{max(steps):.2f})",
            }


def evaluation_row(case: Case) -> Row:
    """One pass of evaluation."""
    row = what(case)
    for name in NAMES:
        if name in case:
            tokens = case["tokens"] / median(case[name]["evaluate"])
            row[f"{name} tokens/s"] = f"{tokens:,.0f}"
    return row if "failed" in case else row | ratio(case, "evaluate")


def start_rows(cases: list[Case]) -> Iterator[Row]:
    """The time from the start of a process to the end of its first step, by phase."""
    for title in dict.fromkeys(case["case"] for case in cases):
        same = [case for case in cases if case["case"] == title]
        parts = {
            part: median(case[key] for case in same)
            for part, key in (
                ("imports", "start_seconds"),
                ("parameters and data", "make_seconds"),
                ("first step", "first_seconds"),
            )
        }
        yield (
            {"": title}
            | {f"{k} s": f"{v:.2f}" for k, v in parts.items()}
            | {"all s": f"{sum(parts.values()):.2f}"}
        )


def table(title: str, rows: list[Row]) -> str:
    """A table in Markdown, or nothing if there are no rows."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return f"## {title}\n\n{markdown(columns, ([r.get(c, '') for c in columns] for r in rows))}\n"


def tables(benchmark: dict[str, Any]) -> str:
    """All tables, in Markdown."""
    num_layers = benchmark["recipe"]["model.num_layers"]
    parts: dict[str, list[Case]] = {"step": [], "evaluation": [], "scale": [], "start": []}
    for case in benchmark["cases"]:
        parts[case["part"]].append(case)
    facts = ", ".join(f"{name} {value}" for name, value in benchmark["facts"].items())
    programs = [case["programs"] for case in parts["start"] if "programs" in case][:1]
    return (
        f"# Benchmark\n\n{facts}. Medians; torch/jax above 1 where awd_jax is faster.\n\n"
        + table("Training step", [train_row(c, num_layers) for c in parts["step"]])
        + table("Its bare matrix products", [r for c in parts["step"] for r in product_rows(c)])
        + table("Evaluation", [evaluation_row(c) for c in parts["evaluation"]])
        + table("Scale", [train_row(c, num_layers) for c in parts["scale"]])
        + table("Start", list(start_rows(parts["start"])))
        + table("Windows of a whole run", [{k: f"{v:.3g}" for k, v in p.items()} for p in programs])
    )


def plot(cases: list[Case], num_layers: int, path: Path) -> None:
    """Plots seconds, arithmetic and memory of a step against each size that was varied."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    varied = [name for name in SIZES if len({case[name] for case in cases}) > 1]
    base = {
        name: max((c[name] for c in cases), key=[c[name] for c in cases].count) for name in SIZES
    }
    figure, axes = plt.subplots(
        2, len(varied), squeeze=False, figsize=(4 * len(varied), 7), layout="constrained"
    )
    for name, (above, below) in zip(varied, axes.T, strict=True):
        line = sorted(
            (c for c in cases if all(c[n] == base[n] for n in SIZES if n != name)),
            key=lambda c, name=name: c[name],
        )
        x = [case[name] for case in line]
        arithmetic = [gflops(case, num_layers) for case in line]
        for who in (who for who in NAMES if who in line[0]):
            seconds = [median(case[who]["train"]) for case in line]
            above.plot(x, seconds, marker=".", label=who)
            below.plot(x, [case[who]["memory_mib"] for case in line], marker=".", label=who)
        unit = seconds[-1] / arithmetic[-1]
        above.plot(x, [unit * a for a in arithmetic], "k:", label="in proportion to the arithmetic")
        above.set(ylabel="seconds a step")
        below.set(ylabel="peak memory, MiB", xlabel=name)
        for axis in (above, below):
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(x, [f"{value:,}" for value in x])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            axis.legend()
    figure.savefig(path, dpi=120)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("file", type=file, help="a benchmark.json")
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """The command."""
    path = options.file
    benchmark = json.loads(path.read_text())
    path.with_suffix(".md").write_text(tables(benchmark))
    print(path.with_suffix(".md").read_text())
    cases = [c for c in benchmark["cases"] if c["part"] == "scale" and "failed" not in c]
    if len(cases) > 1 and importlib.util.find_spec("matplotlib"):
        plot(cases, benchmark["recipe"]["model.num_layers"], path.with_name("scale.png"))


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
