"""The whole loop on a tiny corpus."""

import json
import signal

import jax
import numpy as np
import pytest

from awd_jax.core.ntasgd import observe
from awd_jax.data.windows import WindowPlan
from awd_jax.errors import DivergedError, InterruptedRunError
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.train import learner
from configs import dates_attention, ntm_copy, ptb_small_transformer_xl, ulmfit_small
from tests.forced import observe_no_progress
from tests.train.course import assert_close, record_course
from tests.train.tiny import make_tiny_config, run_training


class Killed(Exception):
    """Stands for kill -9: nothing of the process goes on after it."""


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
    """Of runs that average from the second epoch on, see `forced_trigger`."""
    config = make_tiny_config()
    config.optimizer.learning_rate = 3.0  # learns without bouncing
    config.optimizer.nonmono = 1
    config.train.evaluate_raw = True
    config.train.num_epochs = 4
    return config


@pytest.fixture(scope="module")
def forced_trigger():
    """Fires after every epoch, whatever the losses: where a run wanders decides nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "observe", observe_no_progress)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, forced_trigger):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return run_training(make_averaging_config(), workdir), read_log(workdir)


def test_averaging_begins_after_the_trigger_and_its_epochs_are_those_of_the_mean(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(learner, "observe", observe)  # not the forced one
    config = make_averaging_config()
    config.train.num_epochs = 5
    # Of validation: 4.5 is above all but the latest before it. Each is followed by that of the
    # raw iterate, as soon as there is an average.
    losses = [4.0, 5.0, 4.5, 3.9, 7.0, 3.8, 7.0]
    course = record_course(monkeypatch, [*losses, 3.7])
    trained = run_training(config, tmp_path)
    lines = epochs(read_log(tmp_path))
    assert [line["valid_nll"] for line in lines] == [4.0, 5.0, 4.5, 3.9, 3.8]
    assert [line.get("raw_valid_nll") for line in lines] == [None, None, None, 7.0, 7.0]
    steps = [line["step"] for line in lines]
    averaged = [max(0, step - steps[2]) for step in steps]
    assert [line["num_averaged"] for line in lines] == averaged
    raw = [course.iterates[step - 1] for step in steps]
    means = [course.mean(steps[2], steps[epoch]) for epoch in (3, 4)]
    expected = [*raw[:3], means[0], raw[3], means[1], raw[4], means[1]]
    for evaluated, params in zip(course.evaluated, expected, strict=True):
        assert_close(evaluated, params)
    assert_close(trained.params, means[1])
    assert (trained.valid.nll, trained.test.nll) == (3.8, 3.7)


def test_what_was_best_before_a_resume_still_is(tmp_path, monkeypatch, capsys):
    config = make_tiny_config()
    for config.train.num_epochs, loss in ((1, 4.0), (2, 5.0)):
        course = record_course(monkeypatch, [loss, 3.7])
        trained = run_training(config, tmp_path)
    assert trained.valid.nll == 4.0
    assert capsys.readouterr().out.count("best so far") == 1
    assert_close(trained.params, course.evaluated[-1])


def test_a_later_epoch_needs_no_new_program(tmp_path, monkeypatch):
    config = make_tiny_config()
    config.train.num_epochs = 3
    make_train_step, shapes = learner.make_train_step, []

    def make_counted(*args):
        train_step = make_train_step(*args)

        def counted(state, window, *rest):
            shapes.append(window.inputs.shape)
            return train_step(state, window, *rest)

        return counted

    monkeypatch.setattr(learner, "make_train_step", make_counted)
    run_training(config, tmp_path)
    assert len(shapes) == len(set(shapes)) == 2


def test_training_learns(undisturbed):
    trained, log = undisturbed
    assert {line["learning_rate"] for line in log} == {3.0}
    assert all(line["activation_reg"] > 0 < line["temporal_activation_reg"] for line in log)
    assert epochs(log)[-1]["train_nll"] < epochs(log)[0]["train_nll"]
    assert trained.valid.nll == min(line["valid_nll"] for line in epochs(log))
    assert trained.test.nll < 0.95 * np.log(192)


@pytest.mark.parametrize("num_saves", [1, 11, 30])  # first, before averaging, averaging
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
    assert (resumed.valid.nll, resumed.test.nll) == (trained.valid.nll, trained.test.nll)
    assert read_log(tmp_path) == log


@pytest.mark.parametrize("num_windows", [1, 12, 34])  # training, validation, averaging
def test_an_interrupted_run_loses_nothing(undisturbed, tmp_path, monkeypatch, num_windows):
    batches, take = [], WindowPlan.__getitem__

    def counted_take(self, position):
        batches.append(position)
        if len(batches) == num_windows:
            signal.raise_signal(signal.SIGTERM)
        return take(self, position)

    monkeypatch.setattr(WindowPlan, "__getitem__", counted_take)
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM in "):
        run_training(make_averaging_config(), tmp_path)
    assert len(batches) == num_windows  # the signal waited for no further window
    resumed = run_training(make_averaging_config(), tmp_path)
    trained, log = undisturbed
    jax.tree.map(np.testing.assert_array_equal, resumed.params, trained.params)
    assert read_log(tmp_path) == log


def test_the_rate_falls_after_each_epoch_that_is_no_new_best_whatever_stops_the_run(
    tmp_path, monkeypatch
):
    config = make_tiny_config()
    plateaus, rate = {}, learner.learning_rate

    def recorded_rate(options, epoch, batch_size, num_plateaus):
        plateaus[epoch] = num_plateaus
        return rate(options, epoch, batch_size, num_plateaus)

    monkeypatch.setattr(learner, "learning_rate", recorded_rate)
    # Validations of epochs, and a test at the end of each run.
    for num_epochs, losses in ((2, [5.0, 5.0, 9.0]), (5, [4.0, 4.5, 4.2, 9.0])):
        config.train.num_epochs = num_epochs
        record_course(monkeypatch, losses)
        run_training(config, tmp_path)
    assert plateaus == {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}


def test_without_its_best_checkpoint_a_run_tells_of_the_one_that_is_tested(tmp_path, monkeypatch):
    config = make_tiny_config()
    config.train.num_epochs = 3
    record_course(monkeypatch, [4.0, 6.0, 5.0, 9.0])
    run_training(config, tmp_path)
    best = min((tmp_path / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (best / "metrics" / "metrics").write_text("{")
    record_course(monkeypatch, [9.0])
    assert run_training(config, tmp_path).valid.nll == 5.0


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
    monkeypatch.setattr(learner, "learning_rate", lambda *_: np.inf)
    with pytest.raises(DivergedError, match=rf"step {step + 1} \(epoch 2, window 1\) is not"):
        run_training(config, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [str(step + 1)]


def make_bfloat16_config():
    config = make_tiny_config()
    config.model.dtype = "bfloat16"
    return config


def make_transformer_config():
    config = ptb_small_transformer_xl.get_config("smoke")
    config.data.max_tokens, config.train.num_devices = 500, 2
    config.model.num_layers = 1
    return config


def make_pairs_config():
    """Ranked by a measure; several shapes, and a batch that is not full."""
    config = dates_attention.get_config("smoke")
    config.data.max_pairs, config.train.num_devices = 28, 2
    return config


def make_labels_config():
    """Two epochs in which different layers are trained; on two devices."""
    config = ulmfit_small.get_config("smoke")
    config.data.max_examples, config.data.num_buckets, config.train.num_devices = 28, 1, 2
    return config


def make_bits_config():
    """Batches made on the fly, ranked by an error."""
    config = ntm_copy.get_config("smoke")
    config.data.train_batches, config.data.eval_batches, config.data.max_length = 3, 2, 3
    config.train.best_by, config.train.num_devices = "wrong_bits", 2
    return config


@pytest.mark.parametrize(
    "make_config",
    [
        make_bfloat16_config,
        make_transformer_config,
        make_pairs_config,
        make_labels_config,
        make_bits_config,
    ],
)
def test_such_a_run_is_resumed_bit_for_bit(make_config, tmp_path):
    config = make_config()
    config.train.num_epochs = 2
    config.train.checkpoint_minutes = 0.0
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        trained = run_training(config, tmp_path / "whole")
        with pytest.raises(Killed):
            run_training(config, tmp_path / "killed", killed_after(3))  # in the midst of an epoch
        resumed = run_training(config, tmp_path / "killed")
    assert resumed.test.nll == trained.test.nll
    assert read_log(tmp_path / "killed") == read_log(tmp_path / "whole")
    assert {p.dtype for p in jax.tree.leaves(resumed.params)} == {np.dtype("float32")}
