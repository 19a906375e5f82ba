"""The whole loop on a tiny corpus."""

import json
import signal

import jax
import numpy as np
import pytest

from awd_jax.data import windows
from awd_jax.errors import DivergedError, InterruptedRunError
from awd_jax.train import loop
from awd_jax.train.checkpoint import Checkpoints
from tests.train.tiny import make_tiny_config, run_training


class Killed(Exception):
    """Stands for kill -9: nothing of the process goes on behind it."""


def killed_after(num_saves):
    class KilledCheckpoints(Checkpoints):
        num_saved = 0

        def save(self, *args):
            super().save(*args)
            self.wait()
            self.num_saved += 1
            if self.num_saved == num_saves:
                raise Killed

    return KilledCheckpoints


def read_log(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def epochs(log):
    return [line for line in log if "valid_nll" in line]


def make_averaging_config():
    """A rate far too high: the raw iterates bounce, so averaging begins early, and helps."""
    config = make_tiny_config()
    config.optimizer.learning_rate = 30.0
    config.optimizer.nonmono = 1
    config.train.evaluate_raw = True
    config.train.num_epochs = 9
    return config


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return run_training(make_averaging_config(), workdir), read_log(workdir)


def test_a_forced_early_trigger_averages_and_the_average_is_better(undisturbed):
    trained, log = undisturbed
    lines = epochs(log)
    losses = [line["valid_nll"] for line in lines]
    triggered = next(e for e in range(len(losses)) if e > 1 and losses[e] > min(losses[: e - 1]))
    steps = [line["step"] for line in lines]
    for epoch, line in enumerate(lines):
        assert line["num_averaged"] == max(0, steps[epoch] - steps[triggered])
        assert ("raw_valid_nll" in line) == (epoch > triggered)
    assert lines[-1]["valid_nll"] < lines[-1]["raw_valid_nll"]
    assert trained.valid_nll == min(losses)
    assert losses.index(min(losses)) > triggered  # what is saved as best is an average


def test_training_learns(undisturbed):
    trained, log = undisturbed
    assert all(line["activation_reg"] > 0 < line["temporal_activation_reg"] for line in log)
    assert epochs(log)[-1]["train_nll"] < epochs(log)[0]["train_nll"]
    assert trained.valid_nll == min(line["valid_nll"] for line in epochs(log))
    assert np.exp(trained.test_nll) < 150


@pytest.mark.parametrize("num_saves", [1, 30, 90])
def test_a_killed_run_ends_bit_for_bit_where_the_undisturbed_one_does(
    undisturbed, tmp_path, num_saves
):
    config = make_averaging_config()
    config.train.checkpoint_minutes = 0.0  # after every window
    with pytest.raises(Killed):
        run_training(config, tmp_path, killed_after(num_saves))
    config.train.checkpoint_minutes = 10.0
    resumed = run_training(config, tmp_path)
    trained, log = undisturbed
    jax.tree.map(np.testing.assert_array_equal, resumed.params, trained.params)
    assert (resumed.valid_nll, resumed.test_nll) == (trained.valid_nll, trained.test_nll)
    assert read_log(tmp_path) == log


@pytest.mark.parametrize("num_windows", [1, 13, 140])  # training, validation, averaging
def test_an_interrupted_run_loses_nothing(undisturbed, tmp_path, monkeypatch, num_windows):
    batches, whole_batch = [], windows.window_batch

    def window_batch(*args):
        batches.append(args)
        if len(batches) == num_windows:
            signal.raise_signal(signal.SIGTERM)
        return whole_batch(*args)

    monkeypatch.setattr(windows, "window_batch", window_batch)
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM in "):
        run_training(make_averaging_config(), tmp_path)
    assert len(batches) == num_windows  # the signal waited for no further window
    resumed = run_training(make_averaging_config(), tmp_path)
    trained, log = undisturbed
    jax.tree.map(np.testing.assert_array_equal, resumed.params, trained.params)
    assert read_log(tmp_path) == log


def test_checkpoints_come_after_so_many_steps(tmp_path):
    config = make_tiny_config()
    config.train.num_epochs = 1
    config.train.checkpoint_steps = 4
    saves = []

    class CountedCheckpoints(Checkpoints):
        def save(self, state, progress, *args):
            saves.append((progress.epoch, progress.window))
            super().save(state, progress, *args)

    run_training(config, tmp_path, CountedCheckpoints)
    assert saves == [(1, 4), (1, 8), (2, 0)]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    config = make_tiny_config()
    config.train.num_epochs = 1
    run_training(config, tmp_path)
    step = epochs(read_log(tmp_path))[0]["step"]
    config.train.num_epochs = 2
    monkeypatch.setattr(loop, "learning_rate", lambda *_: np.inf)
    with pytest.raises(DivergedError, match=rf"step {step + 1} \(epoch 2, window 1\) is not"):
        run_training(config, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [str(step + 1)]


def test_a_run_in_bfloat16_is_resumed_bit_for_bit(tmp_path):
    config = make_tiny_config()
    config.model.dtype, config.train.num_epochs = "bfloat16", 2
    config.train.checkpoint_minutes = 0.0
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    trained = run_training(config, tmp_path / "whole")
    with pytest.raises(Killed):
        run_training(config, tmp_path / "killed", killed_after(9))
    resumed = run_training(config, tmp_path / "killed")
    assert resumed.test_nll == trained.test_nll
    assert read_log(tmp_path / "killed") == read_log(tmp_path / "whole")
    assert {p.dtype for p in jax.tree.leaves(resumed.params)} == {np.dtype("float32")}
