"""Several processes as one run: real ones, whose collectives go over the loopback."""

import json
import shutil
import signal

import pytest

from awd_jax.tasks.evaluate import evaluate
from awd_jax.tasks.train import train
from awd_jax.train import learner
from configs import addition, lstm_copy, quickstart
from tests.forced import observe_no_progress
from tests.many import Many

OVERRIDES = {
    "data.max_tokens": 500,
    "model.num_layers": 1,
    # So low that steps do not amplify the rounding of sums: its runs may be compared.
    "optimizer.learning_rate": 1.0,
    "optimizer.nonmono": 1,
    "train.bptt": 5,  # lengths of 5 to 16: two programs
    "train.log_steps": 4,
    "train.num_epochs": 4,  # all but the first one average, see tests.forced
    "train.num_samples": 0,
    "train.seed": 14,
}
TWO_BY_TWO = {"num_processes": 2, "num_devices": 2}
# Of silence until a process counts as dead, and all end. Long, for a process that gets no time
# under heavy load is not dead; shorter where one is killed, and may have to be found so.
HEARTBEAT, SHORT_HEARTBEAT = 600, 20


def make_config(num_devices):
    config = quickstart.get_config("smoke")
    config.update_from_flattened_dict({**OVERRIDES, "train.num_devices": num_devices})
    return config


def arguments(workdir, *more, heartbeat=HEARTBEAT):
    fields = [f"--config.{name}={value}" for name, value in OVERRIDES.items()]
    config = "--config=configs/quickstart.py:smoke"
    return (config, f"--workdir={workdir}", f"--heartbeat_timeout={heartbeat}", *fields, *more)


def train_here(num_devices, workdir):
    """In this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "observe", observe_no_progress)
        train(make_config(num_devices), workdir)


def read_log(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def read_json(workdir, name):
    return json.loads((workdir / f"{name}.json").read_text())


def last_checksums(workdir):
    """Of each array of the last checkpoint."""
    last = max((workdir / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    return json.loads((last / "meta" / "metadata").read_text())["content"]["crc32"]


def assert_same_run(ours, theirs):
    """Up to the order of float32 sums."""
    for a, b in zip(read_log(ours), read_log(theirs), strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    result = read_json(ours, "result")
    assert result == pytest.approx(read_json(theirs, "result"), rel=1e-5)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def on_one_device(directory):
    train_here(1, directory / "one")
    return directory / "one"


@pytest.fixture(scope="module")
def two_by_two(directory):
    """A run of two processes with two devices each; nothing disturbs it."""
    with Many(directory, arguments(directory / "two"), **TWO_BY_TWO) as many:
        assert many.exit_codes() == [0, 0], many.says(0) + many.says(1)
        assert "4 cpu in 2 processes" in many.says(0)
        assert "epoch" not in many.says(1)
    return directory / "two"


def test_two_processes_with_two_devices_are_one_run(directory, two_by_two, on_one_device):
    last = read_log(two_by_two)[-1]
    assert last["num_averaged"] > last["step"] / 2  # all epochs but the first
    assert_same_run(two_by_two, on_one_device)
    train_here(4, directory / "four")
    assert_same_run(two_by_two, directory / "four")


@pytest.mark.parametrize(
    ("recipe", "data"),
    [
        (addition, {"data.max_pairs": 25, "data.num_buckets": 1}),
        (lstm_copy, {"data.train_batches": 5, "data.max_length": 3}),
    ],
    ids=["pairs", "bits"],
)
def test_two_processes_with_measures_are_one_run(tmp_path, recipe, data):
    """Each measures its own part of valid, and knows the measure of all of it."""
    fields = {
        **data,
        "optimizer.name": "sgd",  # Adam would make steps of the rounding of sums
        "optimizer.learning_rate": 0.5,
        "train.num_devices": 1,
        "train.num_epochs": 1,
    }
    config = recipe.get_config("smoke")
    config.update_from_flattened_dict(fields)
    train(config, tmp_path / "one")
    name = recipe.__name__.replace(".", "/")
    given = (f"--config.{name}={value}" for name, value in fields.items())
    arguments = (f"--config={name}.py:smoke", f"--workdir={tmp_path / 'two'}", *given)
    (tmp_path / "logs").mkdir()
    with Many(tmp_path / "logs", arguments, num_processes=2, num_devices=1) as many:
        assert many.exit_codes() == [0, 0], many.says(0) + many.says(1)
    assert_same_run(tmp_path / "two", tmp_path / "one")


def test_its_checkpoints_are_those_of_one_process(two_by_two, capfd):
    config = make_config(1)
    evaluate(config, two_by_two)
    result, evaluated = read_json(two_by_two, "result"), read_json(two_by_two, "evaluate")
    assert evaluated == pytest.approx(result, rel=1e-5)
    train_here(1, two_by_two)  # goes on from the last one, and tests
    assert read_json(two_by_two, "result") == pytest.approx(result, rel=1e-5)
    assert "resumed in epoch 5 at window 0" in capfd.readouterr().out


def test_several_processes_evaluate_a_run_of_one(directory, on_one_device):
    result = read_json(on_one_device, "result")
    with Many(directory, arguments(on_one_device, "--task=evaluate"), **TWO_BY_TWO) as many:
        assert many.exit_codes() == [0, 0], many.says(0) + many.says(1)
        assert "best model of step" in many.says(0)
        assert "best model" not in many.says(1)
    assert read_json(on_one_device, "evaluate") == pytest.approx(result, rel=1e-5)


def test_killed_or_stopped_it_goes_on_bit_for_bit(directory, two_by_two):
    expected = last_checksums(two_by_two)
    log = read_log(two_by_two)
    workdir = directory / "disturbed"
    every_5 = "--config.train.checkpoint_steps=5"
    with Many(
        directory,
        arguments(workdir, every_5, heartbeat=SHORT_HEARTBEAT),
        **TWO_BY_TWO,
        strike="window:18:KILL",
    ) as many:
        survivor, struck = many.exit_codes()
        assert struck == -signal.SIGKILL
        said = many.says(0)
        # The collective fails, or hangs until the heartbeat: then it is jax that says so.
        assert survivor in (3, -signal.SIGABRT)
        assert ("has lost another one" if survivor == 3 else "another task died") in said
        assert "epoch 1 |" in said
    command = arguments(workdir, every_5)
    with Many(directory, command, **TWO_BY_TWO, strike="window:8:TERM") as many:
        assert many.exit_codes() == [143, 143], many.says(0) + many.says(1)
        assert "resumed in epoch 2" in many.says(0)
        assert many.says(0).splitlines()[-1] == many.says(1).splitlines()[-1]
        assert "stopped by SIGTERM in " in many.says(1)
    alone = directory / "alone"
    shutil.copytree(workdir, alone)
    train_here(1, alone)  # from the midst of a run of two, with its carry
    assert_same_run(alone, two_by_two)
    with Many(directory, command, **TWO_BY_TWO) as many:
        assert many.exit_codes() == [0, 0], many.says(0) + many.says(1)
        assert "resumed in epoch" in many.says(0)
    assert read_log(workdir) == log
    assert last_checksums(workdir) == expected
    assert read_json(workdir, "result") == read_json(two_by_two, "result")


def test_what_fails_in_process_0_ends_all(directory, two_by_two):
    """Such as a workdir that cannot be used, which only process 0 opens."""
    (directory / "file").touch()
    with Many(directory, arguments(directory / "file"), **TWO_BY_TWO) as many:
        assert many.exit_codes() == [2, 2], many.says(0) + many.says(1)
        assert "cannot be used" in many.says(0)
        assert many.says(1).endswith("awd_jax: process 0 of 2 failed and says why\n")


def test_a_process_that_never_comes_is_named(directory):
    with Many(directory, arguments("x", "--start_timeout=1"), 2, 1, num_started=1) as many:
        assert many.exit_codes() == [3]
        assert many.says(0) == "awd_jax: process 1 of 2 did not come within 1 s\n"
