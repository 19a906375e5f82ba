"""The foundation of every task after training."""

import jax
import numpy as np
import pytest

from awd_jax.data.synthetic import generate_corpus
from awd_jax.errors import InputError
from awd_jax.tasks.generate import generate
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.score import score
from awd_jax.train.language import read_corpus
from configs import ptb_small_transformer_xl
from tests.tasks.saved_model import TOKENS, make_config, save_model
from tests.train.tiny import run_training


def assert_scaled(params, state, factor):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, factor * b, rtol=1e-6), params, state.params
    )


def test_it_needs_no_corpus_and_gives_the_averages(tmp_path):
    config = make_config()
    state = save_model(config, tmp_path)
    config.data.corpus, config.data.dir = "text", "/none"
    best = load_best_model(config, tmp_path)
    assert_scaled(best.params, state, 1.5)
    assert (best.vocabulary.tokens, best.level, best.step) == (TOKENS, "word", 7)
    assert best.model.vocab_size == len(TOKENS)
    assert all(isinstance(p, jax.Array) for p in jax.tree.leaves(best.params))


def test_the_optimizer_is_that_of_the_checkpoint(tmp_path):
    config = make_config()
    config.optimizer.averaging, config.optimizer.name = False, "adam"
    state = save_model(config, tmp_path)
    config.optimizer.averaging, config.optimizer.name = True, "sgd"
    config.optimizer.nonmono = 3
    config.train.batch_size = 5
    assert_scaled(load_best_model(config, tmp_path).params, state, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.hidden_dim", 25), ("model.weight_drop_rate", 0.25), ("data.level", "char")],
)
def test_another_model_is_refused_with_the_fields_that_differ(tmp_path, field, value):
    config = make_config()
    save_model(config, tmp_path)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=rf"{field} = .* there, {value!r} here"):
        load_best_model(config, tmp_path)


def test_another_number_format_of_jax_is_named_and_no_damage(tmp_path):
    save_model(make_config(), tmp_path)
    with jax.enable_x64(True), pytest.raises(InputError, match="jax_enable_x64 = False there"):
        load_best_model(make_config(), tmp_path)
    with jax.default_prng_impl("rbg"):  # draws nothing that the model depends on
        load_best_model(make_config(), tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    save_model(make_config(), tmp_path)
    files = (tmp_path / "checkpoints").glob("*/state/**/d/*")  # the arrays, not what describes them
    data = max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoints/8: (cannot be read|has a wrong checksum)"):
        load_best_model(make_config(), tmp_path)


def test_without_checkpoints_nothing_is_made(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        load_best_model(make_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_corpus_must_have_the_vocabulary_of_the_model(tmp_path):
    config = make_config()
    tokens = read_corpus(config.data).vocabulary.tokens
    save_model(config, tmp_path, tokens)
    best = load_best_model(config, tmp_path)
    assert len(read_splits(config, best).valid) == config.data.max_tokens
    made = generate_corpus(1)
    (tmp_path / "text").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "text" / f"{split}.txt").write_text(getattr(made, split) + "zebra\n")
    config.data.dir = str(tmp_path / "text")
    with pytest.raises(InputError, match="must have the vocabulary of the model"):
        read_splits(config, best)


def test_how_much_a_transformer_remembers_is_chosen_anew(tmp_path):
    config = ptb_small_transformer_xl.get_config("smoke")
    config.data.max_tokens, config.train.num_epochs = 100, 1
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        run_training(config, tmp_path)
    config.model.eval_memory_length = 33
    assert load_best_model(config, tmp_path).model.memory_length == 33
    config.model.memory_length = 11
    with pytest.raises(InputError, match=r"model\.memory_length"):
        load_best_model(config, tmp_path)


@pytest.mark.parametrize("task", [generate, score])
def test_a_model_that_reads_from_the_end_is_refused(tmp_path, task):
    config = make_config()
    config.data.backward = True
    save_model(config, tmp_path)
    with pytest.raises(InputError, match=r"data.backward = True: is of a model that reads from"):
        task(config, tmp_path)
