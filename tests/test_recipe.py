import dataclasses
import importlib
import inspect
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from awd_jax import recipe
from awd_jax.errors import InputError
from awd_jax.models import MODELS
from configs import (
    addition,
    default,
    models,
    ntm_associative_recall,
    ntm_copy,
    ptb_transformer_xl,
    ulmfit,
)

NAMES = sorted(
    path.stem
    for path in Path("configs").glob("[a-z]*.py")
    if path.stem not in {"models", "corpora"}
)
MEMORY = {"cell": "ntm", "memory_rows": 8, "memory_dim": 4}
ROUNDS = {"mogrifier_rounds": 5, "mogrifier_rank": 8}


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_keeps_the_rules(name, variant):
    recipe.check(importlib.import_module(f"configs.{name}").get_config(variant))


def test_a_missing_field_is_named():
    config = default.get_config()
    del config.train.bptt
    with pytest.raises(InputError, match=r"config\.train\.bptt: is missing"):
        recipe.check(config)


def test_a_recipe_of_another_model_is_asked_for():
    config = ptb_transformer_xl.get_config()
    config.model.name = "recurrent"
    with pytest.raises(InputError, match=r"model.cell: is missing; give a recipe of .* recurrent"):
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
        ("translate.length_penalty", 31.0),
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
        ("model.filter_width", 3),
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


def test_a_beta_of_adam_is_refused_with_sgd():
    config = default.get_config()
    config.optimizer.adam_beta1 = 0.0
    with pytest.raises(InputError, match=r"adam_beta1 = 0.0: is for adam, .* = sgd"):
        recipe.check(config)
    config.optimizer.update({"name": "adam", "learning_rate": 1e-3})
    recipe.check(config)


def test_summed_outputs_need_equal_widths():
    config = default.get_config()
    config.model.sum_outputs = True
    with pytest.raises(InputError, match=r"sum_outputs = True: needs .* not of 400 and 1150"):
        recipe.check(config)
    config.model.hidden_dim = 400
    recipe.check(config)


@pytest.mark.parametrize("field", ROUNDS)
def test_a_mogrifier_needs_rounds_and_a_rank(field):
    config = default.get_config()
    config.model.update({"cell": "mogrifier", **ROUNDS})
    recipe.check(config)
    config.model[field] = 0
    with pytest.raises(InputError, match=rf"{field} = 0: is needed where config.model.cell = mogr"):
        recipe.check(config)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"memory_rows": 0}, "memory_rows = 0: is needed where config.model.cell = ntm"),
        ({"memory_dim": 0}, "memory_dim = 0: is needed where config.model.cell = ntm"),
        ({"memory_heads": 0}, "memory_heads = 0: must be a whole number"),
        ({"memory_dim": 400}, "memory_dim = 400: leaves the LSTM none of the 400 features"),
        ({"memory_heads": 101}, "memory_dim = 4: leaves .* the heads of an ntm read 404"),
        ({"cell": "lstm"}, "memory_rows = 8: is for cell ntm, and config.model.cell = lstm"),
        (
            {"cell": "lstm", "memory_rows": 0, "memory_dim": 0, "max_shift": 2},
            "max_shift = 2: is for cell ntm, and",
        ),
        ({"cap_input_gate": True}, "cap_input_gate = True: is for cell lstm or mogrifier, and"),
    ],
)
def test_a_memory_has_its_fields_and_room_in_each_layer(fields, rule):
    config = default.get_config()
    config.model.update(MEMORY)
    recipe.check(config)
    config.model.update(fields)
    with pytest.raises(InputError, match=f"config.model.{rule}"):
        recipe.check(config)


def test_fan_in_leaves_no_norm_to_divide_by():
    config = addition.get_config()
    config.model.update(attention="normed_additive", initializer="fan_in")
    with pytest.raises(InputError, match="initializer = fan_in: makes vectors 0, and normed_add"):
        recipe.check(config)


@pytest.mark.parametrize("name", ["seq2seq", "bits"])
def test_the_heads_of_a_memory_leave_room_in_every_model(name):
    config = {"seq2seq": addition, "bits": ntm_copy}[name].get_config()
    config.model.update({**MEMORY, "hidden_dim": 5})
    recipe.check(config)
    config.model.hidden_dim = 4
    with pytest.raises(InputError, match="memory_dim = 4: leaves the LSTM none of the 4 feat"):
        recipe.check(config)


@pytest.mark.parametrize(
    ("make", "fields", "rule"),
    [
        (ntm_copy, {"data.min_length": 21}, "data.min_length = 21: is above 20"),
        (ntm_copy, {"data.max_repeats": 2}, "data.max_repeats = 2: is for repeat_copy"),
        (ntm_copy, {"data.corpus": "repeat_copy"}, "data.max_repeats = 0: is needed"),
        (
            ntm_copy,
            {"data.corpus": "associative_recall"},
            "data.min_length = 1: must be 2 or more where",
        ),
        (
            ntm_associative_recall,
            {"data.test_length": 1},
            "data.test_length = 1: must be 0, or 2 or more",
        ),
        (ntm_copy, {"data.corpus": "text"}, "data.corpus = 'text': must be one of copy, rep"),
        (ntm_copy, {"train.num_samples": 1}, "train.num_samples = 1: is for language models"),
        (
            ntm_copy,
            {"train.measures": ("exact_match",)},
            r"train.measures = \('exact_match',\): exact_match is for a model seq2seq, and",
        ),
        (
            addition,
            {"train.measures": ("exact_match", "wrong_bits")},
            r"train.measures = .*: wrong_bits is for a model bits, and config.model.name = seq",
        ),
        (default, {"train.measures": ("wrong_bits",)}, "train.measures = .* = recurrent"),
        (addition, {"optimizer.thaw_epochs": 1}, "optimizer.thaw_epochs = 1: is for models rec"),
        (ulmfit, {"optimizer.embed_rate_factor": 2.0}, "optimizer.embed_rate_factor = 2.0: is for"),
        (ulmfit, {"optimizer.warmup_steps": 9}, "optimizer.warmup_steps = 9: must be 0 where .* s"),
        (ulmfit, {"model.dropout_kind": "elementwise"}, "model.dropout_kind = 'elementwise': must"),
    ],
)
def test_fields_of_one_kind_of_model_are_refused_of_others(make, fields, rule):
    config = make.get_config()
    recipe.check(config)
    config.update_from_flattened_dict(fields)
    with pytest.raises(InputError, match=f"config.{rule}"):
        recipe.check(config)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"schedule": "cosine"}, r"schedule_steps = 0: must be more than warmup_steps = 0"),
        (
            {"schedule": "cosine", "schedule_steps": 9, "warmup_steps": 9},
            r"schedule_steps = 9: must be more than warmup_steps = 9",
        ),
        (
            {"schedule_steps": 9},
            r"is for cosine and halving, and .*schedule = constant",
        ),
        (
            {"schedule": "inverse_sqrt", "final_rate_factor": 0.5},
            r"final_rate_factor = 0.5: is for cosine, and .*schedule = inverse_sqrt",
        ),
    ],
)
def test_a_schedule_has_what_it_needs_and_no_more(fields, rule):
    config = default.get_config()
    config.optimizer.update(fields)
    with pytest.raises(InputError, match=rule):
        recipe.check(config)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"embed_dim": 7}, "embed_dim = 7: must be an even number"),
        ({"eval_memory_length": 0}, "eval_memory_length = 0: must be a whole number"),
        ({"positions": "absolute", "clamp_length": 5}, "clamp_length = 5: is for relative"),
        ({"positions": "absolute", "share_biases": False}, "share_biases = False: is for relative"),
        ({"memory_length": 0, "same_length": True}, "same_length = True: is as many"),
        ({"untie_first_projection": True}, "untie_first_projection = True: is for softmax adap"),
        (
            {"softmax": "adaptive", "cutoffs": (5,), "untie_first_projection": True},
            "untie_first_projection = True: is for a div_val above 1",
        ),
        ({"softmax": "adaptive", "cutoffs": (5, 9), "div_val": 30}, "div_val = 30: leaves the las"),
        ({"softmax": "mixture"}, "num_components = 0: is needed"),
    ],
)
def test_fields_of_a_transformer_that_do_not_go_together_are_refused(fields, rule):
    config = ptb_transformer_xl.get_config()
    recipe.check(config)
    config.model.update(fields)
    with pytest.raises(InputError, match=rf"config.model.{rule}"):
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
    if name == "classifier":  # those of its head, and of the language model that it is on
        of_class = {*inspect.signature(MODELS[name]).parameters} - {"axis_name", "encoder"}
        of_class |= {field.name for field in dataclasses.fields(MODELS["recurrent"])}
    else:
        of_class = {field.name for field in dataclasses.fields(MODELS[name])}
    of_data = {"vocab_size", "source_vocab_size", "num_classes", "input_dim", "output_dim"}
    assert of_class - given_by_flax - of_data == {*fields} < of_class


@pytest.mark.parametrize(
    ("field", "value", "other", "rule"),
    [
        ("backend", "cudnn", {"cell": "gru"}, "does not go with config.model.cell = gru"),
        ("backend", "fast", {"cell": "cho_gru"}, "cho_gru has scan only"),
        ("backend", "fast", {"cell": "qrnn"}, "QRNN has scan and associative only"),
        ("backend", "fast", {"cell": "mogrifier", **ROUNDS}, "mogrifier has scan only"),
        ("backend", "fast", MEMORY, "ntm has scan only"),
        ("forget_gate_bias", 1.0, {"cell": "rnn"}, "is for cell lstm or mogrifier or ntm, and"),
        ("cap_input_gate", True, {"cell": "gru"}, "is for cell lstm or mogrifier, and"),
        ("backend", "cudnn", {"cap_input_gate": True}, "only the LSTM without cap has it"),
        ("state_dropout_rate", 0.5, {"backend": "cudnn"}, "has no mask within its loop"),
        ("state_dropout_rate", 0.5, {"cell": "qrnn"}, "drops h where it enters a product"),
        ("input_weight_drop_rate", 0.1, {"cell": "qrnn"}, "whose only matrix"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(field, value, other, rule):
    config = default.get_config()
    config.model[field] = value
    recipe.check(config)
    config.model.update(other)
    with pytest.raises(InputError, match=rf"config.model.{field} = {value}: .*{rule}"):
        recipe.check(config)


@pytest.mark.parametrize(("field", "value"), [("filter_width", 2), ("backend", "associative")])
def test_what_only_a_qrnn_has_is_refused_of_others(field, value):
    config = default.get_config()
    config.model.cell, config.model[field] = "qrnn", value
    recipe.check(config)
    config.model.cell = "gru"
    with pytest.raises(InputError, match=rf"{field} = {value}: .*cell = gru"):
        recipe.check(config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"softmax": "mixture"}, "num_components = 0: is needed where .*softmax = mixture"),
        (
            {"softmax": "adaptive"},
            r"cutoffs = \(\): is needed where .*softmax = adaptive",
        ),
        ({"num_components": 3}, "num_components = 3: is for softmax mixture, and .* = tied"),
        ({"latent_dropout_rate": 0.1}, "latent_dropout_rate = 0.1: is for softmax mixture, and"),
        ({"cutoffs": (5,)}, r"cutoffs = \(5,\): is for softmax adaptive, and"),
        ({"softmax": "adaptive", "cutoffs": (5, 5)}, r"cutoffs = \(5, 5\): must be a tuple of ids"),
        ({"div_val": 2}, "div_val = 2: is for softmax adaptive, and"),
        (
            {"softmax": "adaptive", "cutoffs": (5, 9, 12), "div_val": 8},
            "div_val = 8: leaves the last cluster no feature of 400",
        ),
        ({"last_hidden_dim": 620}, "last_hidden_dim = 620: must be 0 or embed_dim where .* = tied"),
    ],
)
def test_a_softmax_has_its_fields_and_no_others(fields, message):
    config = default.get_config()
    config.model.update(fields)
    with pytest.raises(InputError, match=f"config.model.{message}"):
        recipe.check(config)
