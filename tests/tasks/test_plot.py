"""The task as a user runs it, on logs that are written here."""

import json
import math
import sys

import pytest

from awd_jax.errors import InputError
from awd_jax.tasks.plot import plot, read_run
from configs import quickstart

# Two epochs of four steps and a part of a third; averaging begins after the first.
LOG = (
    {"step": 2, "epoch": 1, "train_nll": 6.0, "grad_norm": 1.0},
    {"step": 4, "epoch": 1, "train_nll": 5.0, "grad_norm": 2.0, "valid_nll": 3.0},
    {"step": 8, "epoch": 2, "train_nll": 2.0, "valid_nll": 2.0, "raw_valid_nll": 2.5},
    {"step": 9, "epoch": 3, "train_nll": 1.0, "learning_rate": 7.0},
)
LOG[1]["num_averaged"], LOG[2]["num_averaged"] = 0, 4
LOG[1]["raw_valid_nll"] = None  # it was not finite


def leave_log(workdir, lines=LOG):
    workdir.mkdir(exist_ok=True, parents=True)
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return workdir


def test_a_line_has_its_place_in_epochs_and_the_means_of_its_own_steps(tmp_path):
    run = read_run(leave_log(tmp_path), "a")
    assert run.points("train_nll") == [(0.5, 6.0), (1.0, 4.0), (2.0, 2.0), (2.25, 1.0)]
    assert run.points("grad_norm") == [(0.5, 1.0), (1.0, 3.0)]
    assert run.points("valid_nll") == [(1.0, 3.0), (2.0, 2.0)]
    assert run.trigger() == 1
    assert read_run(leave_log(tmp_path, LOG[:2]), "a").trigger() is None


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are made, by a class that the task finds."""
    figure = pytest.importorskip("matplotlib.figure")
    figures = []

    class Figure(figure.Figure):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            figures.append(self)

    monkeypatch.setattr(figure, "Figure", Figure)
    return figures


def test_it_draws_what_the_logs_of_all_runs_have(drawn, tmp_path, capsys):
    workdir, other = leave_log(tmp_path / "ours"), tmp_path / "other"
    leave_log(other, [LOG[0], LOG[1] | {"valid_exact_match": 0.5}])
    config = quickstart.get_config()
    config.plot.also = str(other)
    plot(config, workdir)
    pictures = [workdir / "plot.png", workdir / "plot.svg"]
    assert capsys.readouterr().out.splitlines() == list(map(str, pictures))
    contents = [picture.read_bytes() for picture in pictures]
    assert contents[0].startswith(b"\x89PNG")
    assert contents[1].startswith(b"<?xml")
    losses, *others = drawn[0].axes
    assert losses.get_ylabel() == "perplexity"
    curves = {line.get_label(): line.get_ydata() for line in losses.lines}
    assert curves["ours: valid"] == pytest.approx([math.exp(3), math.exp(2)])
    assert {"ours: train, dropout on", "ours: valid, raw iterates", "other: valid"} < set(curves)
    assert [axes.get_ylabel() for axes in others] == [
        "valid exact match",
        "learning rate",
        "norm of the gradient, unclipped",
    ]
    plot(config, workdir)
    assert contents == [picture.read_bytes() for picture in pictures]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no finished epoch"),
        (json.dumps(LOG[0]), "has no finished epoch"),
        (f"{json.dumps(LOG[1])}\n{json.dumps(LOG[2])[:-9]}", "line 2: is no line of a metrics log"),
        ('{"step": 1, "epoch": null, "valid_nll": 1.0}', "line 1: is no line of a metrics log"),
        ("[1]", "line 1: is no line of a metrics log"),
        (f"{json.dumps(LOG[1])}\n{json.dumps(LOG[0])}", "line 2: does not follow the line before"),
    ],
)
def test_a_bad_log_is_one_line_and_nothing_is_written(text, told, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(InputError, match=rf"metrics.jsonl(, |: ){told}"):
        plot(quickstart.get_config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_workdir_without_a_log_is_named(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match=r"none/metrics.jsonl: cannot be read"):
        plot(quickstart.get_config(), tmp_path / "none")


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"--task=plot: needs matplotlib; install it"):
        plot(quickstart.get_config(), leave_log(tmp_path))
