import json

from awd_jax.train.report import Report, describe_nll


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
