"""Models of others as workdirs, and workdirs as files for others."""

import json

import jax
import numpy as np
import pytest
import safetensors

from awd_jax.errors import InputError
from awd_jax.interchange.params import flatten_params
from awd_jax.interchange.weights_file import write_safetensors
from awd_jax.tasks import TASKS
from awd_jax.tasks.model_file import load_best_model
from awd_jax.train.language import read_corpus
from awd_jax.train.problem import make_model
from configs import default
from tests.interchange.golden import load_golden, load_transformer, save_state
from tests.tasks.saved_model import make_config as make_base_config
from tests.tasks.saved_model import save_model
from tests.train.tiny import make_tiny_config

FASTAI_TOKENS = ("xxunk", "xxpad", "xxbos", "xxeos", *"abcdefghijklmnop", "w x", "\n") + (
    "xxfake",
) * 2
TINY_DIMS = {"embed_dim": 8, "hidden_dim": 12, "num_layers": 3}


def golden_config(tmp_path, layout, tokens=FASTAI_TOKENS):
    """A config that imports a golden file with a vocabulary in JSON."""
    config = make_tiny_config()
    config.model.update(TINY_DIMS)
    config.data.max_tokens = 300
    state = load_golden(layout).state
    config.import_model.path = str(save_state(tmp_path / "weights.safetensors", state))
    config.import_model.vocabulary = str(tmp_path / "vocabulary.json")
    (tmp_path / "vocabulary.json").write_text(json.dumps(tokens))
    return config


def run(task, config, workdir):
    TASKS[task](config, workdir)
    return json.loads((workdir / f"{task}.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A config, and the workdir of a random model with the tokens of its corpus."""
    config = make_tiny_config()
    config.data.max_tokens = 300
    config.optimizer.learning_rate = 2.0
    vocabulary = read_corpus(config.data).vocabulary
    params = make_model(config.model, len(vocabulary)).init_params(jax.random.key(5))
    directory = tmp_path_factory.mktemp("made")
    path = directory / "random.safetensors"
    metadata = {"vocabulary": json.dumps(vocabulary.tokens)}
    write_safetensors(path, flatten_params(jax.device_get(params)), metadata)
    config.import_model.path = str(path)
    config.import_model.tokens = "corpus"
    TASKS["import_model"](config, directory / "run")
    return config, directory / "run"


@pytest.fixture
def exportable(made, tmp_path):
    """The same, to be exported to an own directory."""
    config = made[0].copy_and_resolve_references()
    config.export_model.dir = str(tmp_path)
    config.import_model.tokens = "file"
    return config, made[1]


def test_a_fastai_model_becomes_a_workdir(tmp_path):
    config = golden_config(tmp_path, "fastai_1")
    result = run("import_model", config, tmp_path / "run")
    assert result["num_tokens"] == 24
    assert result["valid_nll"] is None
    best = load_best_model(config, tmp_path / "run")
    assert best.vocabulary.tokens[:4] == ("<unk>", "xxpad", "<eos>", "xxeos")
    assert best.vocabulary.tokens[-3:] == ("\n", "xxfake", "xxfake_1")
    golden, carry = load_golden("fastai_1"), best.model.initial_carry(3)
    log_probs, _ = jax.jit(best.model.log_probs)(best.params, golden.inputs, carry)
    expected = jax.nn.log_softmax(golden.logits)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("format", "file"), [("safetensors", "model"), ("torch", "awd_lstm_lm")])
def test_export_and_import_give_the_same_model_bit_for_bit(exportable, format, file, tmp_path):
    config, workdir = exportable
    config.export_model.format = format
    result = run("export_model", config, workdir)
    path = tmp_path / f"{file}.safetensors"
    assert result["bytes"] == {str(path): path.stat().st_size}
    with safetensors.safe_open(path, "numpy") as exported:
        assert json.loads(exported.metadata()["config"])["model.hidden_dim"] == 24
    config.import_model.path = str(path)
    run("import_model", config, tmp_path / "run")
    before, after = load_best_model(config, workdir), load_best_model(config, tmp_path / "run")
    assert after.vocabulary == before.vocabulary
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), b), before.params, after.params
    )
    assert run("evaluate", config, tmp_path / "run") == run("evaluate", config, workdir)


def test_import_for_the_corpus_moves_rows_evaluates_and_trains_on(made, tmp_path, capsys):
    config, workdir = made
    config = config.copy_and_resolve_references()
    original = load_best_model(config, workdir)
    # The same model with other ids, and tokens that the corpus does not have.
    tokens = ["", *original.vocabulary.tokens, "\n"]
    ids = np.random.default_rng(0).permutation(len(tokens))
    arrays = flatten_params(jax.device_get(original.params))
    for name in ("embedding", "softmax.bias"):
        pad = [(1, 1)] + [(0, 0)] * (arrays[name].ndim - 1)
        arrays[name] = np.pad(arrays[name], pad)[ids]
    write_safetensors(tmp_path / "other.safetensors", arrays, {})
    (tmp_path / "other.json").write_text(json.dumps([tokens[i] for i in ids]))
    config.import_model.path = str(tmp_path / "other.safetensors")
    config.import_model.vocabulary = str(tmp_path / "other.json")
    imported = run("import_model", config, tmp_path / "run")
    assert imported["num_new_tokens"] == 0
    best = load_best_model(config, tmp_path / "run")
    assert best.vocabulary == original.vocabulary
    jax.tree.map(np.testing.assert_array_equal, best.params, original.params)
    assert run("evaluate", config, tmp_path / "run")["valid_nll"] == imported["valid_nll"]

    config.train.num_epochs = 1
    TASKS["train"](config, tmp_path / "run")
    assert "resumed in epoch 1 at window 0" in capsys.readouterr().out
    trained = json.loads((tmp_path / "run" / "result.json").read_text())
    assert trained["valid_nll"] < imported["valid_nll"]


def test_new_tokens_are_counted(tmp_path, capsys):
    config = golden_config(tmp_path, "fastai_2")
    config.import_model.tokens = "corpus"
    result = run("import_model", config, tmp_path / "run")
    known = {"<eos>", "<unk>", *FASTAI_TOKENS}
    num_new = len(set(read_corpus(config.data).vocabulary.tokens) - known)
    assert result["num_new_tokens"] == num_new > 0
    assert f"{num_new} tokens are new and have the mean of all rows" in capsys.readouterr().out


def test_the_ids_of_awd_lstm_lm_follow_from_its_corpus(tmp_path):
    config = golden_config(tmp_path, "awd_lstm_lm")
    words = [f"w{i}" for i in range(22)]
    for split, part in (("train", words[4::-1]), ("valid", words[:9]), ("test", words[9:])):
        (tmp_path / f"{split}.txt").write_text(" ".join(part) + "\n")
    config.import_model.vocabulary = str(tmp_path)
    run("import_model", config, tmp_path / "run")
    tokens = load_best_model(config, tmp_path / "run").vocabulary.tokens
    assert tokens == ("w4", "w3", "w2", "w1", "w0", "<eos>", *words[5:])


def test_stablehlo_comes_with_its_parameters(exportable, tmp_path):
    config, workdir = exportable
    config.export_model.format = "stablehlo"
    config.export_model.dir = str(tmp_path / "deep" / "er")
    run("export_model", config, workdir)
    names = {path.name for path in (tmp_path / "deep" / "er").iterdir()}
    assert names == {"model.safetensors", "model.stablehlo"}


BAD_IMPORTS = {
    "no path": ({"import_model.path": ""}, "give one as --config.import_model.path"),
    "width": (
        {"model.hidden_dim": 13},
        r"bias_hh_l0 \(here lstm_0.b_h\) has shape \[48\]: must be \[52\] by the config",
    ),
    "depth": ({"model.num_layers": 4}, r"lstm_2.b_h\) has shape \[32\]: must be \[48\]"),
    "no vocabulary": ({"import_model.vocabulary": ""}, "have no vocabulary with them"),
    "vocabulary of another size": ({"tokens": FASTAI_TOKENS[:-1]}, "each of the 24 tokens"),
    "a token twice": ({"tokens": ("a", *FASTAI_TOKENS[1:])}, "more than once"),
    "no eos": ({"tokens": ("xxunk", "x", "y", *FASTAI_TOKENS[3:])}, "import_model.eos_token"),
    "no such eos": ({"import_model.eos_token": "stop"}, "'stop': is to be <eos> and is not in"),
    "no corpus there": ({"import_model.vocabulary": "/"}, "lacks files of the corpus"),
    "unreadable corpus": ({"import_model.tokens": "corpus", "data.dir": "/none"}, "/none"),
    "short corpus": (
        {"import_model.tokens": "corpus", "train.valid_batch_size": 600},
        "config.train.valid_batch_size = 600",
    ),
}


@pytest.mark.parametrize("what", BAD_IMPORTS)
def test_a_bad_import_is_one_line_and_writes_nothing(what, tmp_path):
    changes, told = BAD_IMPORTS[what]
    changes = dict(changes)
    config = golden_config(tmp_path, "fastai_2", changes.pop("tokens", FASTAI_TOKENS))
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=told) as error:
        TASKS["import_model"](config, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_names_in_a_file_tell_a_transformer(tmp_path):
    config = make_tiny_config()
    state = load_transformer("one_softmax").state | {"r_emb": np.zeros(3)}
    config.import_model.path = str(save_state(tmp_path / "xl.safetensors", state))
    with pytest.raises(InputError, match="r_emb: is not part of a Transformer-XL"):
        TASKS["import_model"](config, tmp_path / "run")


def test_the_level_of_an_export_is_known(exportable, tmp_path):
    config, workdir = exportable
    TASKS["export_model"](config, workdir)
    config.import_model.path = str(tmp_path / "model.safetensors")
    config.data.level = "char"
    with pytest.raises(
        InputError, match=r"level = 'char': .* has 'word'; set --config.data.level=word"
    ):
        TASKS["import_model"](config, tmp_path / "run")


def test_a_workdir_is_never_overwritten(exportable, tmp_path):
    config, workdir = exportable
    before = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    with pytest.raises(InputError, match="holds checkpoints"):
        TASKS["import_model"](config, workdir)
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == before


def test_an_export_that_cannot_be_written(exportable, tmp_path):
    config, workdir = exportable
    (tmp_path / "file").write_text("")
    config.export_model.dir = str(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot be written .*; give another one"):
        TASKS["export_model"](config, workdir)


def test_an_export_needs_a_trained_model(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        TASKS["export_model"](default.get_config("smoke"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["residual", "sum_outputs", "cap_input_gate"])
def test_what_shapes_do_not_show_is_refused(exportable, tmp_path, field):
    """Neither a sum nor a cap has parameters, and awd-lstm-lm has neither."""
    config, workdir = exportable
    TASKS["export_model"](config, workdir)
    config.import_model.path = str(tmp_path / "model.safetensors")
    config.model[field] = True
    with pytest.raises(InputError, match=rf"{field} = True: .* has False; set --"):
        TASKS["import_model"](config, tmp_path / "run")
    config.export_model.format = "torch"
    with pytest.raises(InputError, match=rf"format = torch: is for the plain LSTM.*{field} = True"):
        TASKS["export_model"](config, workdir)


def test_a_model_that_reads_from_the_end_says_so(tmp_path):
    config = make_base_config()
    config.data.backward = True
    save_model(config, tmp_path / "backward")
    TASKS["export_model"](config, tmp_path / "backward")
    config.import_model.path = str(tmp_path / "backward" / "export" / "model.safetensors")
    config.data.backward = False
    with pytest.raises(InputError, match=r"data.backward = False: .* has True"):
        TASKS["import_model"](config, tmp_path / "run")


@pytest.mark.parametrize("content", ["hidden = 12", "null", "12", '"data.level"'])
def test_a_config_that_another_program_wrote_is_refused(tmp_path, content):
    config = golden_config(tmp_path, "fastai_1")
    metadata = {"config": content}
    write_safetensors(tmp_path / "weights.safetensors", load_golden("fastai_1").state, metadata)
    with pytest.raises(InputError, match=r"the config in weights .*: is no object of JSON"):
        TASKS["import_model"](config, tmp_path / "run")


def test_a_model_with_clusters_keeps_its_tokens(tmp_path):
    config = make_tiny_config()
    config.data.max_tokens = 300
    config.model.update(softmax="adaptive", cutoffs=(4, 9), div_val=2)
    config.import_model.path = str(tmp_path / "random.safetensors")
    vocabulary = read_corpus(config.data).vocabulary
    params = make_model(config.model, len(vocabulary)).init_params(jax.random.key(5))
    metadata = {"vocabulary": json.dumps(vocabulary.tokens)}
    write_safetensors(
        tmp_path / "random.safetensors", flatten_params(jax.device_get(params)), metadata
    )
    run("import_model", config, tmp_path / "run")
    best = load_best_model(config, tmp_path / "run")
    assert best.vocabulary == vocabulary
    jax.tree.map(np.testing.assert_array_equal, best.params, params)
    config.import_model.tokens = "corpus"
    with pytest.raises(InputError, match="cannot move tokens between the clusters"):
        TASKS["import_model"](config, tmp_path / "other")


def test_a_backend_that_is_not_there_is_refused(tmp_path):
    config = golden_config(tmp_path, "fastai_2")
    config.model.backend = "cudnn"
    with pytest.raises(InputError, match="cudnn: needs a GPU"):
        TASKS["import_model"](config, tmp_path / "run")
