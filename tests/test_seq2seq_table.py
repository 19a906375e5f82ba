"""experiments/seq2seq_table.py on logs of runs, one of them unfinished."""

import json

import pytest

from experiments import seq2seq_table
from experiments.seq2seq_table import main, parse_arguments, read_run


def leave_run(workdir, matches, test=None, best_by="exact_match"):
    """Leaves what a run of three epochs would; the NLL falls always."""
    workdir.mkdir()
    lines = [{"epoch": 1, "train_nll": 2.0}]
    for epoch, match in enumerate(matches, 1):
        lines.append({"epoch": epoch, "valid_nll": 1 / epoch, "valid_exact_match": match})
    timing = [{"train_seconds": 2.0 + n, "valid_seconds": 0.5} for n in range(len(matches))]
    for name, rows in (("metrics", lines), ("timing", timing)):
        (workdir / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = {"train.num_epochs": 3, "train.best_by": best_by}
    (workdir / "config.json").write_text(json.dumps(config))
    if test is not None:
        (workdir / "result.json").write_text(json.dumps({"test_exact_match": test}))
    return workdir


def test_a_row_for_each_name(tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(seq2seq_table, "draw", lambda groups, path: drawn.extend(groups))
    runs = [
        leave_run(tmp_path / "by-date-0", [0.5], best_by="nll"),
        leave_run(tmp_path / "addition-10", [0.1, 0.3, 0.2], test=0.25),
        leave_run(tmp_path / "addition-2", [0.4, 0.2, 0.4], test=0.5),
        leave_run(tmp_path / "addition-3", []),
    ]
    (tmp_path / "addition-10" / "log.txt").write_text(
        "addition: 9 pairs\n1,234 parameters, 1 cpu\n"
    )
    main(parse_arguments([*map(str, runs), f"--out={tmp_path / 'out'}"]))
    table = (tmp_path / "out" / "table.md").read_text()
    printed = capsys.readouterr()
    assert printed.out == table
    assert printed.err == "addition-3 is left out: no epoch yet\n"
    assert table.splitlines()[2:] == [
        "| addition | 2, 10 | 1,234 | 37.50 (25.00-50.00) | 30.00 (20.00-40.00) | 1, 2 | 3 | 3.5"
        " | 10.8 |",
        "| by-date | 0 |  |  | 50.00 | 1 | 1 of 3 | 2.5 |  |",
    ]
    assert [[run.seed for run in runs] for runs in drawn] == [[2, 10], [0]]


def test_the_best_epoch_is_that_of_the_recipe(tmp_path):
    assert read_run(leave_run(tmp_path / "a-0", [0.1, 0.3, 0.2])).best == 2
    assert read_run(leave_run(tmp_path / "a-1", [0.1, 0.3, 0.2], best_by="nll")).best == 3


def test_a_workdir_of_another_name_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="must be named NAME-SEED"):
        read_run(leave_run(tmp_path / "a", [0.1]))
