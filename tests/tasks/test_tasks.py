"""Every recipe trains, evaluates and resumes; small, on the built-in corpus."""

import importlib
import json
from pathlib import Path

import jax
import pytest

from awd_jax.errors import InputError
from awd_jax.recipe import check
from awd_jax.tasks import TASKS
from awd_jax.train.problem import make_model

NAMES = sorted({path.stem for path in Path("configs").glob("[a-z]*.py")} - {"default", "models"})


def smoke(name):
    config = importlib.import_module(f"configs.{name}").get_config("smoke")
    config.data.max_tokens = 72  # 8 streams of 9 tokens: one program of training
    config.train.bptt = 5
    config.train.num_epochs = 1
    config.train.num_devices = 1
    config.train.num_samples = 2
    return config


def structure(name):
    """What decides which code a recipe runs; other fields are numbers to it."""
    config = smoke(name)
    of_model = {n: v for n, v in config.model.items() if isinstance(v, str | bool)}
    return str((config.optimizer.name, config.data.level, of_model))


TRAINED = {structure(name): name for name in NAMES}  # one recipe of each structure


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_a_model_at_full_size(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    check(config)
    model = make_model(config.model, 300_000)
    assert jax.tree.leaves(jax.eval_shape(model.init_params, jax.random.key(0)))


@pytest.mark.parametrize("name", TRAINED.values())
def test_a_recipe_of_each_structure_trains(name, tmp_path, capsys):
    config = smoke(name)
    # optax's Adam promotes silently.
    with jax.numpy_dtype_promotion("standard" if config.optimizer.name == "adam" else "strict"):
        TASKS["train"](config, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["valid_perplexity"] > 1
    assert result["test_perplexity"] > 1
    printed = capsys.readouterr().out
    assert "epoch 1 |" in printed
    assert printed.count("\n> ") == 2


def test_evaluate_finds_what_training_found_and_training_again_changes_nothing(tmp_path, capsys):
    config = smoke("quickstart")
    TASKS["train"](config, tmp_path / "run")
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    TASKS["evaluate"](config, tmp_path / "run")
    TASKS["train"](config, tmp_path / "run")
    result = (tmp_path / "run" / "result.json").read_bytes()
    assert (tmp_path / "run" / "evaluate.json").read_bytes() == result
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
    assert "resumed in epoch 2" in capsys.readouterr().out


OTHERS = ("ptb_mos", "wt103_qrnn", "wt103_transformer_xl", "ptb_small_transformer")


@pytest.mark.parametrize("name", OTHERS)
def test_every_task_takes_other_models_and_softmaxes(name, tmp_path):
    """Those of the quickstart are in test_stages.py."""
    config = smoke(name)
    config.train.num_samples = 0
    config.dynamic.batch_size = 8
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        TASKS["train"](config, tmp_path / "run")
    result = (tmp_path / "run" / "result.json").read_bytes()
    (tmp_path / "lines.txt").write_text("the\n\nthe the\n")
    config.score.update({"input": str(tmp_path / "lines.txt"), "output": str(tmp_path / "scores")})
    config.export_model.format = "stablehlo"
    for task in ("evaluate", "dynamic", "tune_temperature", "generate", "score", "export_model"):
        TASKS[task](config, tmp_path / "run")
    assert (tmp_path / "run" / "evaluate.json").read_bytes() == result


def test_a_run_may_go_on_with_a_cache_of_its_corpus_and_computes_the_same(tmp_path):
    config = smoke("quickstart")
    config.train.num_samples = 0
    cache = str(tmp_path / "cache")
    for name, num_epochs, config.data.cache_dir in (("a", 2, ""), ("b", 1, ""), ("b", 2, cache)):
        config.train.num_epochs = num_epochs
        TASKS["train"](config, tmp_path / name)
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in "ab"]
    assert logs[0] == logs[1]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_evaluate_without_checkpoints_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        TASKS["evaluate"](smoke("quickstart"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
