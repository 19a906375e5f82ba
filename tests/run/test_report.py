import json

from awd_jax.run import processes
from awd_jax.run.report import Report, describe_nll


def test_lines_after_a_checkpoint_are_dropped_at_a_resume(tmp_path):
    with Report(tmp_path) as report:
        report.metrics(1, {"loss": 3.0})
        log_bytes = report.log_bytes
        report.metrics(2, {"loss": 2.0})
    with Report(tmp_path) as report:
        report.rewind(log_bytes)
        report.metrics(2, {"loss": 1.5})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 1.5}]


def test_without_a_terminal_there_is_no_bar(tmp_path, capfd):
    with Report(tmp_path) as report:
        assert list(report.bar(range(2, 5), 5, epoch=1)) == [2, 3, 4]
        report.say("epoch 1")
    captured = capfd.readouterr()
    assert captured.out == "epoch 1\n"
    assert captured.err == ""


def test_tensorboard_has_the_metrics(tmp_path):
    with Report(tmp_path) as report:
        report.metrics(1, {"train_nll": 3.0})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train_nll" in events.read_bytes()


def test_a_loss_is_told_in_the_unit_of_its_tokens():
    assert describe_nll(4.6051702, "word") == "perplexity 100.00"
    assert describe_nll(0.6931472, "char") == "1.0000 bits"
    assert describe_nll(1e9, "word") == "perplexity inf"


def test_a_process_that_is_not_the_first_writes_and_prints_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(processes, "is_first", lambda: False)
    with Report(tmp_path) as report:
        report.rewind(5)
        report.metrics(1, {"loss": 3.0})
        report.timing(1, {"train_seconds": 3.0})
        report.say("epoch 1")
        assert list(report.bar(range(2, 5), 5, epoch=1)) == [2, 3, 4]
        assert report.log_bytes == 0
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_log_of_the_machine_has_its_memory(tmp_path):
    with Report(tmp_path) as report:
        report.timing(1, {"train_seconds": 3.0})
    line = json.loads((tmp_path / "timing.jsonl").read_text())
    assert (line["step"], line["train_seconds"]) == (1, 3.0)
    assert line["peak_memory_mib"] > 10
