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

NOT_RECIPES = {"default", "models", "corpora"}
NAMES = sorted({path.stem for path in Path("configs").glob("[a-z]*.py")} - NOT_RECIPES)


def smoke(name):
    config = importlib.import_module(f"configs.{name}").get_config("smoke")
    config.train.num_epochs = 1
    config.train.num_devices = 1
    if config.model.name == "seq2seq":
        config.data.max_pairs = 12
        config.data.num_buckets = 1
        return config
    if config.model.name == "bits":
        config.data.train_batches = config.data.eval_batches = 2
        return config
    if config.model.name == "classifier":
        config.data.corpus = "subjects"
        config.data.max_examples = 16
        config.data.num_buckets = 1
        return config
    config.data.max_tokens = 72  # 8 streams of 9 tokens: one program of training
    config.train.bptt = 5
    config.train.num_samples = 2
    return config


def structure(name):
    """What decides which code a recipe runs; other fields are numbers to it."""
    config = smoke(name)
    if config.model.name == "seq2seq":  # the rest is in tests/models/test_seq2seq.py
        return (config.model.attention, config.model.placement)
    if config.model.name == "bits":  # the rest is in tests/models/test_bit_model.py
        return (config.model.cell, config.data.corpus)
    of_model = {n: v for n, v in config.model.items() if isinstance(v, str | bool)}
    return str((config.optimizer.name, config.data.level, of_model))


TRAINED = {structure(name): name for name in NAMES}  # one recipe of each structure


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_a_model_at_full_size(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    check(config)
    sizes = {"seq2seq": {"source_vocab_size": 200_000}, "classifier": {"num_classes": 5}}
    sizes["bits"] = sizes["seq2seq"]
    model = make_model(config.model, 300_000, **sizes.get(config.model.name, {}))
    assert jax.tree.leaves(jax.eval_shape(model.init_params, jax.random.key(0)))


@pytest.mark.parametrize("name", TRAINED.values())
def test_a_recipe_of_each_structure_trains(name, tmp_path, capsys):
    config = smoke(name)
    # optax's Adam and schedules promote silently.
    is_plain = config.optimizer.name == "sgd" and config.optimizer.schedule == "constant"
    with jax.numpy_dtype_promotion("strict" if is_plain else "standard"):
        TASKS["train"](config, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["valid_perplexity"] > 1
    assert result["test_perplexity"] > 1
    printed = capsys.readouterr().out
    assert "epoch 1 |" in printed
    assert printed.count("\n> ") == config.train.num_samples


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


def test_a_translator_evaluates_finetunes_and_translates_and_is_no_language_model(tmp_path, capfd):
    config = smoke("addition_reversed_peeky")
    (tmp_path / "lines.txt").write_text("1+2\n345+6\n1+2\n")
    config.translate.input = str(tmp_path / "lines.txt")
    config.translate.num_tokens = 5
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        for task in ("train", "evaluate", "finetune", "translate"):
            TASKS[task](config, tmp_path / "run")
    result = (tmp_path / "run" / "result.json").read_bytes()
    assert (tmp_path / "run" / "evaluate.json").read_bytes() == result
    assert 0 <= json.loads(result)["test_exact_match"] <= 1
    rows = [line.split("\t") for line in capfd.readouterr().out.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][1:] == rows[2][1:]
    for task in ("generate", "cache", "import_model", "export_model"):
        with pytest.raises(InputError, match=r"model.name = seq2seq: must be a language model"):
            TASKS[task](config, tmp_path / ("new" if task == "import_model" else "run"))
    config.data.corpus = "addition"  # of digits
    with pytest.raises(InputError, match=r"kinds of target tokens: must have the vocabulary"):
        TASKS["evaluate"](config, tmp_path / "run")


def test_parts_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    config = smoke("dates_attention")
    config.model.bidirectional = "all"
    with pytest.raises(InputError, match=r"attention dot: the decoder's states have 24 features"):
        TASKS["train"](config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
