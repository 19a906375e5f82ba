import dataclasses
import importlib
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from awd_jax import recipe
from awd_jax.errors import InputError
from awd_jax.models import MODELS
from configs import default, models

NAMES = sorted(path.stem for path in Path("configs").glob("[a-z]*.py") if path.stem != "models")


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_keeps_the_rules(name, variant):
    recipe.check(importlib.import_module(f"configs.{name}").get_config(variant))


def test_a_missing_field_is_named():
    config = default.get_config()
    del config.train.bptt
    with pytest.raises(InputError, match=r"config\.train\.bptt: is missing"):
        recipe.check(config)


def test_an_unknown_field_is_named():
    config = default.get_config()
    config.model.dropout = 0.5
    with pytest.raises(InputError, match=r"config\.model\.dropout: is not a known field"):
        recipe.check(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model.output_dropout_rate", 1.0),
        ("model.weight_drop_rate", -0.1),
        ("model.embed_dropout_rate", float("nan")),
        ("model.hidden_dim", 0),
        ("model.num_layers", -1),
        ("model.embed_dim", 1.5),
        ("model.hidden_dim", True),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", float("inf")),
        ("optimizer.name", "adamw"),
        ("optimizer.nonmono", 0),
        ("optimizer.decay_epochs", (0,)),
        ("optimizer.decay_epochs", 3),
        ("train.batch_size", 0),
        ("train.seed", -1),
        ("train.seed", 2**32),
        ("train.activation_reg", -1.0),
        ("train.evaluate_raw", 1),
        # What float64 has and float32, in which programs compute, does not.
        ("generate.temperature", 0.0),
        ("generate.temperature", 1e-38),
        ("optimizer.learning_rate", 1e-46),
        ("optimizer.learning_rate", 1e39),
        ("optimizer.max_grad_norm", 1e300),
        ("dynamic.eps", 1e-46),
        ("train.activation_reg", 1e-40),
        ("model.weight_drop_rate", 1 - 1e-9),
        ("cache.lamb", 1 - 1e-12),
        ("tune_dynamic.epsilons", (1e-5, 1e-50)),
        ("train.num_epochs", 2**31),
        ("optimizer.nonmono", 10**9),
        ("train.bptt", 1),
        ("train.bptt", 4),
        ("data.dir", "gs://bucket/corpus"),
        ("data.cache_dir", "gs://bucket/corpora"),
        ("score.output", "s3://bucket/scores"),
        ("import_model.path", "https://host/model.safetensors"),
        ("export_model.dir", "a\0b"),
        ("data.corpus", "penn"),
        ("data.level", "sentence"),
        ("data.dir", None),
        ("name", "../x"),
        ("name", ".."),
        ("name", ""),
    ],
)
def test_a_value_that_breaks_its_rule_gives_one_line(field, value):
    config = default.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError) as error:
        recipe.check(config)
    assert str(error.value).startswith(f"config.{field} = {value!r}: must be")
    assert "\n" not in str(error.value)


def test_a_temperature_of_zero_has_a_name():
    config = default.get_config()
    config.generate.temperature = 0.0
    with pytest.raises(InputError, match=r"--config\.generate\.method=greedy"):
        recipe.check(config)


def test_adam_with_the_rate_of_sgd_is_refused():
    config = default.get_config()
    config.optimizer.name = "adam"
    with pytest.raises(InputError, match=r"learning_rate = 30.0: must be below 1 with adam"):
        recipe.check(config)
    config.optimizer.learning_rate = 1e-3
    recipe.check(config)


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@hypothesis.given(
    field=st.sampled_from(sorted(recipe.rules_of("recurrent"))), value=anything | st.lists(anything)
)
def test_no_value_gives_anything_but_an_input_error(field, value):
    config = default.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    try:
        recipe.check(config)
    except InputError as error:
        assert field in str(error)


@pytest.mark.parametrize("name", recipe.MODEL_RULES)
def test_a_models_fields_are_those_of_its_class_and_its_rules(name):
    fields = getattr(models, name)().to_dict()
    assert fields.pop("name") == name
    assert fields.keys() == recipe.MODEL_RULES[name].keys()
    given_by_flax = {"parent", "name"}
    of_class = {field.name for field in dataclasses.fields(MODELS[name])} - given_by_flax
    assert of_class == {"vocab_size", *fields}


@pytest.mark.parametrize(
    ("field", "value", "other", "rule"),
    [
        ("backend", "cudnn", {"cell": "gru"}, "is for the LSTM only, and config.model.cell = gru"),
        ("backend", "fast", {"cell": "cho_gru"}, "is not for cho_gru"),
        ("forget_gate_bias", 1.0, {"cell": "rnn"}, "is for cell lstm, and config.model.cell = rnn"),
        ("state_dropout_rate", 0.5, {"backend": "cudnn"}, "has no mask within its loop"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(field, value, other, rule):
    config = default.get_config()
    config.model[field] = value
    recipe.check(config)
    config.model.update(other)
    with pytest.raises(InputError, match=rf"config.model.{field} = {value}: .*{rule}"):
        recipe.check(config)
