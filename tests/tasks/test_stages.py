"""What comes after training, by the command's tasks on one workdir."""

import json

import pytest

from awd_jax.errors import InputError
from awd_jax.tasks import TASKS
from tests.train.tiny import make_tiny_config


def make_config():
    config = make_tiny_config()
    config.train.num_epochs = 1
    config.optimizer.learning_rate = 5.0
    config.cache.window = 20
    config.dynamic.batch_size = 10
    config.tune_cache.windows = (5, 20)
    config.tune_cache.thetas = (0.5, 1.0)
    config.tune_dynamic.learning_rates = (0.0, 1e-4)
    config.tune_dynamic.lambs = (2e-3,)
    return config


def read(workdir, task):
    return json.loads((workdir / f"{task}.json").read_text())


def everything(workdir):
    files = (path for path in workdir.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run and the finetuned one, with what training left behind."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    TASKS["train"](make_config(), workdir)
    before = everything(workdir)
    TASKS["finetune"](make_config(), workdir)
    return workdir, before


def test_finetuning_is_a_run_of_its_own_and_leaves_the_base_untouched(run):
    workdir, before = run
    after = everything(workdir)
    assert {path: after[path] for path in before} == before
    assert all("finetune" in path.parts for path in set(after) - set(before))
    base, tuned = read(workdir, "result"), read(workdir / "finetune", "result")
    assert tuned["valid_nll"] < base["valid_nll"]


def test_training_does_not_go_on_in_the_workdir_of_a_finetuned_run(run):
    with pytest.raises(InputError, match=r"base = 'step \d+, crc32 [0-9a-f]{8}' there, None here"):
        TASKS["train"](make_config(), run[0] / "finetune")


def test_the_tasks_work_on_a_finetuned_run(run, capsys):
    workdir = run[0] / "finetune"
    TASKS["evaluate"](make_config(), workdir)
    TASKS["cache"](make_config(), workdir)
    assert "test | static perplexity" in capsys.readouterr().out
    test = read(workdir, "cache")["test"]
    # The test split is one sequence for evaluation, too.
    evaluated = read(workdir, "evaluate")
    assert test["static"]["nll"] == pytest.approx(evaluated["test_nll"], rel=1e-5)
    assert test["cache"]["nll"] != test["static"]["nll"]


def test_dynamic_gives_all_four_and_the_settings(run, capsys):
    TASKS["dynamic"](make_config(), run[0])
    result = read(run[0], "dynamic")
    assert result["settings"]["cache"]["window"] == 20
    assert result["settings"]["dynamic"]["segment"] == 5
    for split in ("valid", "test"):
        assert list(result[split]) == ["static", "cache", "dynamic", "dynamic_cache"]
        nlls = [model["nll"] for model in result[split].values()]
        assert len(set(nlls)) == 4
        assert nlls[2] < nlls[0]  # it learns from the text
        assert all(model["tokens_per_second"] > 0 for model in result[split].values())
    assert "test | dynamic perplexity" in capsys.readouterr().out


def test_tuning_ranks_every_combination_and_names_the_best(run, capsys):
    config = make_config()
    TASKS["tune_cache"](config, run[0])
    points = read(run[0], "tune_cache")["points"]
    assert len(points) == 2 * 2 * 5
    assert [p["nll"] for p in points] == sorted(p["nll"] for p in points)
    best = points[0]
    assert f"--config.cache.window={best['window']} " in capsys.readouterr().out
    config.cache.update({name: best[name] for name in ("window", "theta", "lamb")})
    TASKS["cache"](config, run[0])
    assert read(run[0], "cache")["valid"]["cache"]["nll"] == pytest.approx(best["nll"], rel=1e-5)

    TASKS["tune_dynamic"](config, run[0])
    points = read(run[0], "tune_dynamic")["points"]
    static = read(run[0], "cache")["valid"]["static"]["nll"]
    assert [p["learning_rate"] for p in points] == [1e-4, 0.0]
    assert points[1]["nll"] == pytest.approx(static, rel=1e-5)
    assert "--config.dynamic.learning_rate=0.0001 " in capsys.readouterr().out


def test_tuning_the_temperature_scores_as_evaluation_does(run, capsys):
    TASKS["evaluate"](make_config(), run[0])
    TASKS["tune_temperature"](make_config(), run[0])
    result, evaluated = read(run[0], "tune_temperature"), read(run[0], "evaluate")
    points = result["points"]
    assert len(points) == 17
    assert points[0] == min(points, key=lambda p: p["nll"])
    assert result["temperature"] == points[0]["temperature"]
    for split in ("valid", "test"):
        static = result[split]["static"]["nll"]
        assert static == pytest.approx(evaluated[f"{split}_nll"], rel=1e-6)
    (unchanged,) = (p["nll"] for p in points if p["temperature"] == 1)
    assert unchanged == pytest.approx(result["valid"]["static"]["nll"], rel=1e-6)
    assert result["valid"]["tempered"]["nll"] == pytest.approx(points[0]["nll"], rel=1e-6)
    assert f"best of 17 | temperature {result['temperature']:g}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "task", ["finetune", "cache", "dynamic", "tune_cache", "tune_dynamic", "tune_temperature"]
)
def test_without_a_trained_run_there_is_one_line_and_nothing_is_written(task, tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        TASKS[task](make_config(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_train_split_too_short_for_its_batch_is_named(run):
    config = make_config()
    config.dynamic.batch_size = 400
    with pytest.raises(InputError, match=r"config\.dynamic\.batch_size = 400"):
        TASKS["dynamic"](config, run[0])
