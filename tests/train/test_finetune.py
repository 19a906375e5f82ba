"""Training from given parameters, averaging from the first step on, until the trigger fires."""

import jax
import numpy as np
import pytest

from awd_jax.train.problem import make_model
from tests.train.course import assert_close, record_course
from tests.train.test_loop import Killed, epochs, killed_after, read_log
from tests.train.tiny import make_tiny_config, run_training


def make_finetune_config():
    config = make_tiny_config()
    config.optimizer.learning_rate = 3.0
    config.optimizer.nonmono = 3  # cannot fire in so few epochs
    config.train.num_epochs = 3
    return config


@pytest.fixture(scope="module")
def base():
    """Other parameters than a new run of the same seed would start from."""
    return make_model(make_finetune_config().model, 192).init_params(jax.random.key(7))


@pytest.fixture(scope="module")
def undisturbed(base, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return run_training(make_finetune_config(), workdir, base=base), read_log(workdir)


def test_it_averages_every_step_and_stops_where_the_trigger_fires(
    base, tmp_path, monkeypatch, capsys
):
    config = make_finetune_config()
    config.optimizer.nonmono = 1
    config.train.num_epochs = 12
    # Of the base, of three epochs of which the last is above the first, and of the test.
    course = record_course(monkeypatch, [9.0, 4.0, 5.0, 4.5, 3.7])
    trained = run_training(config, tmp_path, base=base)
    steps = [line["step"] for line in epochs(read_log(tmp_path))]
    assert len(steps) == 3
    assert [line["num_averaged"] for line in epochs(read_log(tmp_path))] == steps
    means = [course.mean(0, step) for step in steps]
    for evaluated, params in zip(course.evaluated, [base, *means, means[0]], strict=True):
        assert_close(evaluated, params)
    assert_close(trained.params, means[0])
    assert (trained.valid.nll, trained.test.nll) == (4.0, 3.7)
    again = record_course(monkeypatch, [3.7])
    run_training(config, tmp_path, base=base)
    assert again.iterates == []
    assert capsys.readouterr().out.count("stopped after epoch 3: no better than before") == 2


def test_it_gets_better(undisturbed):
    trained, log = undisturbed
    assert trained.valid.nll == min(line["valid_nll"] for line in epochs(log)) < np.log(192)


@pytest.mark.parametrize("num_saves", [1, 20])
def test_a_killed_run_ends_bit_for_bit_where_the_undisturbed_one_does(
    base, undisturbed, tmp_path, num_saves
):
    config = make_finetune_config()
    config.train.checkpoint_minutes = 0.0  # after every window
    with pytest.raises(Killed):
        run_training(config, tmp_path, killed_after(num_saves), base)
    config.train.checkpoint_minutes = 10.0
    resumed = run_training(config, tmp_path, base=base)
    trained, log = undisturbed
    jax.tree.map(np.testing.assert_array_equal, resumed.params, trained.params)
    assert (resumed.valid.nll, resumed.test.nll) == (trained.valid.nll, trained.test.nll)
    assert read_log(tmp_path) == log
    again = run_training(config, tmp_path, base=base)  # after the end
    assert again.test.nll == trained.test.nll
    assert read_log(tmp_path) == log


def test_epochs_that_are_worse_leave_the_base_the_best(base, tmp_path, monkeypatch):
    config = make_finetune_config()
    config.train.num_epochs = 1
    record_course(monkeypatch, [4.0, 4.1, 3.7])
    trained = run_training(config, tmp_path, base=base)
    assert trained.valid.nll == 4.0
    jax.tree.map(np.testing.assert_array_equal, trained.params, base)
