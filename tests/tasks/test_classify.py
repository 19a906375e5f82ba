"""From a language model to a classifier and its labels, as a user goes."""

import json

import jax
import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.models.contract import Classifier, LanguageModel
from awd_jax.tasks import TASKS
from awd_jax.tasks.model_file import load_best_model, load_own_model
from configs import ptb_small_transformer, ulmfit_small
from tests.tasks.saved_model import TOKENS, save_model
from tests.tasks.saved_model import make_config as make_base_config

ROWS = [("x", "a b c d"), ("y", "e f"), ("x", "a zebra"), ("y", "g h e f a")]


@pytest.fixture(autouse=True)
def as_optax_needs():
    with jax.numpy_dtype_promotion("standard"):
        yield


def make_config(directory, **model):
    config = ulmfit_small.get_config("smoke")
    text = "".join(f"{label}\t{text}\n" for label, text in ROWS)
    for split in ("train", "valid", "test"):
        (directory / f"{split}.tsv").write_text(text)
    config.data.corpus, config.data.dir = "labels", str(directory)
    config.data.num_buckets = 1
    config.model.update(model)
    config.train.batch_size = config.train.num_devices = 2
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a language model, with a classifier in it, and its config."""
    path = tmp_path_factory.mktemp("run")
    save_model(make_base_config(), path)
    config = make_config(tmp_path_factory.mktemp("data"))
    with jax.numpy_dtype_promotion("standard"):
        TASKS["classify"](config, path)
    return path, config


def test_the_classifier_begins_as_the_language_model_whose_first_layers_are_frozen(trained):
    path, config = trained
    base = load_own_model(path, LanguageModel)
    best = load_best_model(config, path / config.name, Classifier)
    assert (best.labels, best.vocabulary.tokens) == (("x", "y"), TOKENS)
    # Two epochs thaw the head and the last layer.
    for name in ("embedding", "lstm_0"):
        jax.tree.map(np.testing.assert_array_equal, best.params["encoder"][name], base.params[name])
    fields = json.loads((path / config.name / "config.json").read_text())
    assert fields["base"].startswith("step 7, crc32 ")


def test_results_have_measures_and_confusion(trained):
    path, config = trained
    result = json.loads((path / config.name / "result.json").read_text())
    confusion = np.array(result["test_confusion"])
    assert confusion.sum(axis=1).tolist() == [2, 2]
    assert result["test_accuracy"] == np.trace(confusion) / 4
    right, sizes = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    assert result["test_f1"] == np.mean(2 * right / sizes)
    TASKS["evaluate"](config, path / config.name)
    assert json.loads((path / config.name / "evaluate.json").read_text()) == result


def test_an_encoder_that_is_not_recurrent_is_refused(tmp_path):
    base = ptb_small_transformer.get_config("smoke")
    save_model(base, tmp_path)
    best = load_own_model(tmp_path, LanguageModel)
    assert best.model.embed_dim == base.model.embed_dim
    with pytest.raises(InputError, match=r"model\.name = transformer: must be that of a recurrent"):
        TASKS["classify"](make_config(tmp_path), tmp_path)


def predict(config, path, text, capsys, **options):
    file = path / "lines.txt"
    file.write_text(text)
    config = config.copy_and_resolve_references()
    config.predict.update({"input": str(file), "format": "jsonl", **options})
    capsys.readouterr()
    TASKS["predict"](config, path / config.name)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_lines_are_labelled_in_their_order_whatever_is_beside_them(trained, capsys):
    path, config = trained
    lines = ["a b c d", "e f", "a zebra", "g h e f a", "e f"]
    rows = predict(config, path, "\n".join(lines) + "\n", capsys)
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[1]["probabilities"] == pytest.approx(rows[4]["probabilities"], rel=1e-5)
    for row, line in zip(rows, lines, strict=True):
        [alone] = predict(config, path, line + "\n", capsys)
        assert row["probabilities"] == pytest.approx(alone["probabilities"], rel=1e-4)
        assert row["probability"] == max(row["probabilities"].values())
        assert row["probabilities"][row["label"]] == row["probability"]
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    # What training reads is what prediction reads.
    result = json.loads((path / config.name / "result.json").read_text())
    chosen = [row["label"] for row in rows[:4]]
    confusion = [
        [
            sum(c == to and label == of for c, (label, _) in zip(chosen, ROWS, strict=True))
            for to in "xy"
        ]
        for of in "xy"
    ]
    assert confusion == result["test_confusion"]
    nlls = [
        -np.log(row["probabilities"][label]) for row, (label, _) in zip(rows, ROWS, strict=False)
    ]
    assert np.mean(nlls) == pytest.approx(result["test_nll"], rel=1e-4)


def second_classifier(path, **data):
    """The config of a classifier to train in a path, on a language model of these fields."""
    base = make_base_config()
    base.data.update(data)
    save_model(base, path)
    (path / "data").mkdir()
    config = make_config(path / "data")
    config.data.update(data)
    return config


def assert_means(trained, other, other_path, text, capsys):
    """Two classifiers give the means of what each gives alone."""
    path, config = trained
    ours, theirs = predict(config, path, text, capsys), predict(other, other_path, text, capsys)
    both = predict(config, path, text, capsys, also=str(other_path / other.name))
    for a, b, row in zip(ours, theirs, both, strict=True):
        mean = {n: (a["probabilities"][n] + b["probabilities"][n]) / 2 for n in "xy"}
        assert row["probabilities"] == pytest.approx(mean, rel=1e-5)


def test_a_second_classifier_that_reads_backward_counts_as_much(trained, tmp_path, capsys):
    other = second_classifier(tmp_path, backward=True)
    TASKS["classify"](other, tmp_path)
    assert_means(trained, other, tmp_path, "a b c d\ne f g h a\n", capsys)
    with pytest.raises(InputError, match=r"data.backward = False: workdir .* has True"):
        TASKS["classify"](make_config(tmp_path / "data"), tmp_path)


def test_a_second_classifier_reads_tokens_of_its_own(trained, tmp_path, capsys):
    """The first one's words are no characters."""
    other = second_classifier(tmp_path, level="char")
    other.train.update(measures=(), best_by="nll")
    TASKS["classify"](other, tmp_path)
    result = json.loads((tmp_path / other.name / "result.json").read_text())
    assert np.sum(result["valid_confusion"]) == np.sum(result["test_confusion"]) == len(ROWS)
    assert_means(trained, other, tmp_path, "a b c d\nefgha\n", capsys)


def test_what_does_not_fit_is_one_line(trained, tmp_path, capsys):
    path, config = trained
    with pytest.raises(InputError, match=r"model.hidden_dim = 99: workdir .* has 24"):
        TASKS["classify"](make_config(tmp_path, hidden_dim=99), path)
    with pytest.raises(InputError, match=r"model.cell = 'gru': workdir .* has 'lstm'"):
        TASKS["classify"](make_config(tmp_path, cell="gru"), path)
    with pytest.raises(InputError, match=r"model.name = recurrent: must be classifier"):
        TASKS["classify"](make_base_config(), path)
    with pytest.raises(InputError, match=r"model.name = classifier: must be a language model"):
        TASKS["classify"](config, path / config.name)
    with pytest.raises(InputError, match=r"model.name = classifier: must be a language model"):
        TASKS["generate"](config, path / config.name)
    with pytest.raises(InputError, match=r"model.name = recurrent: must be a classifier"):
        TASKS["predict"](make_base_config(), path)
    with pytest.raises(InputError, match=r"lines.txt, line 2: is blank"):
        predict(config, path, "a\n\nb\n", capsys)
