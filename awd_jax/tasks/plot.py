"""Draws the curves of runs from their metrics logs."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.errors import InputError
from awd_jax.files import local_path, read_text
from awd_jax.run.report import perplexity
from awd_jax.tasks.pictures import load_figure, save_figure

# What is drawn of each key of the log, and how.
LOSSES = {
    "train_nll": ("train, dropout on", "--"),
    "raw_valid_nll": ("valid, raw iterates", ":"),
    "valid_nll": ("valid", "-"),
}
OF_UPDATES = {"learning_rate": "learning rate", "grad_norm": "norm of the gradient, unclipped"}
MEANS = ("train_nll", "grad_norm")  # a line has their means over the epoch so far
SIZE = (5.5, 3.6)  # of a panel, in inches
_FIX = "give the workdir of a run that has trained for an epoch or more"


class Run(NamedTuple):
    """A metrics log: each line, and where it is, in epochs."""

    name: str
    lines: list[tuple[float, dict[str, Any]]]

    def points(self, key: str) -> list[tuple[float, float]]:
        """The values of a key, and where they are."""
        return [(at, line[key]) for at, line in self.lines if key in line]

    def trigger(self) -> int | None:
        """The epoch after which averaging began; None if it did not."""
        of_averages = (line["epoch"] for _, line in self.lines if line.get("num_averaged"))
        first = next(of_averages, None)
        return None if first is None else first - 1


def plot(config: ConfigDict, workdir: Path) -> None:
    """Draws the curves of a run, and of those in `plot.also`, as WORKDIR/plot.png and plot.svg.

    There are panels for the losses, for each measure, for the learning rate and for the norm of the
    gradient, as far as the logs have them. A vertical line is where averaging began. Only
    the logs are read: no corpus, no model, no device.

    Raises:
      InputError: before anything is written: matplotlib is not installed, or a log cannot be read,
        has a line that is none, or no finished epoch.
      StorageError: a picture cannot be written.
    """
    figure_class = load_figure("plot")
    also = [local_path("config.plot.also", path) for path in config.plot.also.split(",") if path]
    workdirs = [workdir, *also]
    names = [path.absolute().name for path in workdirs]
    if len(set(names)) < len(names):
        names = list(map(str, workdirs))
    runs = [read_run(*pair) for pair in zip(workdirs, names, strict=True)]
    # What training reports: perplexity, but not of letters, classes or bits.
    is_text = config.model.name in ("recurrent", "transformer") and config.data.level == "word"
    figure = draw(figure_class, runs, is_text or config.model.name == "seq2seq")
    pictures = [workdir / f"plot.{form}" for form in ("png", "svg")]
    save_figure(figure, *pictures)
    for picture in pictures:
        output.say(str(picture))


def read_run(workdir: Path, name: str) -> Run:
    """Reads the metrics log of a workdir.

    Raises:
      InputError: it cannot be read, has a line that is none, or no finished epoch.
    """
    path = workdir / "metrics.jsonl"
    text = read_text(str(path), path, _FIX)
    lines = [_read_line(f"{path}, line {n}", line) for n, line in enumerate(text.splitlines(), 1)]
    for n, (before, line) in enumerate(itertools.pairwise(lines), 2):
        if line["step"] <= before["step"] or line["epoch"] < before["epoch"]:
            raise InputError(f"{path}, line {n}", "does not follow the line before it", _FIX)
    if not any("valid_nll" in line for line in lines):
        raise InputError(str(path), "has no finished epoch", _FIX)
    return Run(name, list(_placed(lines)))


def _read_line(place: str, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    # What is not finite is logged as null.
    numbers = {k: v for k, v in line.items() if v is not None} if isinstance(line, dict) else {}
    is_log = {"step", "epoch"} <= numbers.keys()
    if not is_log or not all(isinstance(value, int | float) for value in numbers.values()):
        raise InputError(place, "is no line of a metrics log", _FIX)
    return numbers


def _placed(lines: list[dict[str, Any]]) -> Iterator[tuple[float, dict[str, Any]]]:
    """Lines with their places in epochs, and with means over the steps since the line before."""
    start = length = 0
    for epoch, group in itertools.groupby(lines, key=lambda line: line["epoch"]):
        of_epoch = list(group)
        num_steps = of_epoch[-1]["step"] - start
        is_finished = "valid_nll" in of_epoch[-1]  # else it will be as long as the one before
        length = num_steps if is_finished else max(num_steps, length)
        num_before, sums = 0, dict.fromkeys(MEANS, 0.0)
        for line in of_epoch:
            num = line["step"] - start
            own = {}
            for key in sums.keys() & line.keys():
                own[key] = (line[key] * num - sums[key]) / (num - num_before)
                sums[key] = line[key] * num
            yield epoch - 1 + num / length, line | own
            num_before = num
        start += num_steps


def draw(figure_class: type[Any], runs: list[Run], is_perplexity: bool) -> Any:
    """Returns a figure with a panel for all that the runs have.

    Args:
      figure_class: of matplotlib.
      runs: each in a colour of its own.
      is_perplexity: draw losses as perplexities, on a logarithmic axis; else in nats.
    """
    keys = {key: None for run in runs for _, line in run.lines for key in line}
    measures = {key: key.replace("_", " ") for key in keys if key.startswith("valid_")}
    others = {key: name for key, name in {**measures, **OF_UPDATES}.items() if key in keys}
    others.pop("valid_nll")
    num_rows = math.ceil((1 + len(others)) / 2)
    from matplotlib.ticker import LogFormatter  # there, if there is a class of figures

    figure = figure_class((2 * SIZE[0], num_rows * SIZE[1]), layout="constrained")
    first, *rest = figure.subplots(num_rows, 2, squeeze=False).flat
    if is_perplexity:
        _draw_panel(first, runs, LOSSES, "perplexity", perplexity)
        first.set_yscale("log")
        first.yaxis.set_major_formatter(LogFormatter())
        first.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(3, 1.2)))
    else:
        _draw_panel(first, runs, LOSSES, "loss, nats")
    for axes, (key, name) in zip(rest, others.items(), strict=False):
        _draw_panel(axes, runs, {key: ("", "-")}, name)
    for axes in rest[len(others) :]:
        axes.remove()
    return figure


def _draw_panel(
    axes: Any,
    runs: list[Run],
    styles: dict[str, tuple[str, str]],
    name: str,
    scale: Callable[[float], float] = float,
) -> None:
    for number, run in enumerate(runs):
        colour = f"C{number}"
        for key, (what, style) in styles.items():
            points = [(at, scale(value)) for at, value in run.points(key)]
            if points:
                label = ": ".join(word for word in (run.name * (len(runs) > 1), what) if word)
                axes.plot(*zip(*points, strict=True), style, marker=".", color=colour, label=label)
        trigger = run.trigger()
        if trigger is not None:
            label = "averaging begins" if len(runs) == 1 and len(styles) > 1 else ""
            axes.axvline(trigger, color=colour, linestyle="-.", linewidth=1, label=label)
    axes.set(xlabel="epoch", ylabel=name)
    axes.grid(which="both", alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
