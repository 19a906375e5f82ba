"""fastai's classifier computes here what it does there, and learns the same."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.batches import LabelCounts, Labelled
from awd_jax.errors import InputError
from awd_jax.interchange.classifier_layout import from_classifier
from awd_jax.interchange.params import check_params, flat_shapes, flatten_params, unflatten_params
from awd_jax.models.classifier import ClassifierMasks, text_classifier
from awd_jax.models.contract import Classifier
from awd_jax.tasks import TASKS
from awd_jax.tasks.model_file import load_best_model
from configs import ulmfit
from tests.interchange.golden import save_state

SIZES = {
    "embed_dim": 5,
    "hidden_dim": 7,
    "num_layers": 2,
    "head_dim": 6,
    "chunk_length": 4,
    "pooled_length": 100,
    "pooled_dropout_rate": 0.0,
    "head_dropout_rate": 0.0,
}
MODEL = text_classifier(17, 3, **SIZES)


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden_classifier.npz") as file:
        return dict(file)


def part(golden, prefix):
    return {n.removeprefix(prefix): a for n, a in golden.items() if n.startswith(prefix)}


def batch_of(golden):
    weights, labels = golden["weights"], golden["labels"][None]
    counts = LabelCounts(weights.sum(), weights[1:].sum(), np.float32(labels.size))
    batch = Labelled(golden["inputs"], weights, labels, np.ones_like(weights[:1]), counts)
    return jax.tree.map(jnp.asarray, batch)


def as_version_1(state):
    """The same model, whose head is one list, with biases."""
    places = {"0.0": "0", "0.2": "2", "1.0": "4", "1.2": "6"}
    renamed = {
        re.sub(r"layers\.(\d\.\d)", lambda m: f"layers.{places[m[1]]}", n): a
        for n, a in state.items()
    }
    biases = {f"1.layers.{i}.bias": np.zeros(n, np.float32) for i, n in (("2", 6), ("6", 3))}
    return renamed | biases


@pytest.mark.parametrize("version", [1, 2])
def test_the_probabilities_are_torchs(golden, version):
    state = part(golden, "state/")
    params, names = from_classifier("", as_version_1(state) if version == 1 else state)
    check_params("", params, flat_shapes(MODEL), names)
    found = MODEL.log_probs(jax.tree.map(jnp.asarray, unflatten_params(params)), batch_of(golden))
    np.testing.assert_allclose(found, golden["log_probs"], rtol=1e-5, atol=1e-5)


def test_the_loss_its_gradients_and_the_running_means_are_torchs(golden):
    params, _ = from_classifier("", part(golden, "state/"))
    params = jax.tree.map(jnp.asarray, unflatten_params(params))
    batch = batch_of(golden)
    masks = ClassifierMasks(None, (None, None))

    def loss(params):
        return MODEL.score(params, batch, (), masks).nll / batch.counts.targets

    found, grads = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(found, golden["loss"], rtol=1e-5)
    ours = flatten_params(grads)
    theirs, names = from_classifier("", part(golden, "grad/"))
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)
    after, names = from_classifier("", part(golden, "after/"))
    assert len(names) == 4
    flat = flatten_params(params)
    for name in names:
        moved = flat[name] - 0.1 * ours[name]
        np.testing.assert_allclose(moved, after[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_an_imported_classifier_predicts(golden, tmp_path, capsys):
    config = ulmfit.get_config()
    config.model.update(SIZES)
    config.train.num_devices = 1
    state = part(golden, "state/")
    counts = {n: v.astype(np.int64) for n, v in state.items() if n.endswith("num_batches_tracked")}
    save_state(tmp_path / "model.safetensors", state | counts)  # as PyTorch has them
    tokens = ["xxunk", "xxpad", "xxbos", *(f"w{i}" for i in range(14))]
    (tmp_path / "vocabulary.txt").write_text("\n".join(tokens) + "\n")
    (tmp_path / "labels.txt").write_text("class 1\nclass 2\nclass 3\n")
    (tmp_path / "lines.txt").write_text("w1 w2 w3\nzebra\n")
    for name in ("path", "vocabulary", "labels"):
        file = {"path": "model.safetensors"}.get(name, f"{name}.txt")
        config.import_model[name] = str(tmp_path / file)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        TASKS["import_model"](config, tmp_path / "run")
    best = load_best_model(config, tmp_path / "run", Classifier)
    assert best.labels == ("class 1", "class 2", "class 3")
    config.predict.input = str(tmp_path / "lines.txt")
    capsys.readouterr()
    TASKS["predict"](config, tmp_path / "run")
    said = capsys.readouterr()
    assert [row.split("\t")[0] for row in said.out.splitlines()] == ["line", "1", "2"]
    assert "outside the vocabulary" in said.err
    config.import_model.labels = ""
    with pytest.raises(InputError, match=r"import_model.labels = '': is needed"):
        TASKS["import_model"](config, tmp_path / "other")
    config.import_model.labels = str(tmp_path / "labels.txt")
    (tmp_path / "labels.txt").write_text("a\nb\na\n")
    with pytest.raises(InputError, match=r"labels.txt: has a label more than once"):
        TASKS["import_model"](config, tmp_path / "other")
    config.import_model.labels = str(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"^labels .*none.txt: cannot be read"):
        TASKS["import_model"](config, tmp_path / "other")
    config.import_model.labels = str(tmp_path / "vocabulary.txt")
    with pytest.raises(InputError, match=r"has shape \[3\]: must be \[17\]"):
        TASKS["import_model"](config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_language_model_is_no_classifier(golden):
    state = part(golden, "state/") | {"1.decoder.bias": np.zeros(17, np.float32)}
    with pytest.raises(InputError, match=r"1.decoder.bias: is not part of an AWD-LSTM classifier"):
        from_classifier("weights", state)
