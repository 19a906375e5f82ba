"""The rules of all config fields, checked before any device work."""

from typing import Any

from ml_collections import ConfigDict

from awd_jax.cross_rules import MEASURES, check_bits, check_optimizer, check_training
from awd_jax.data import bits
from awd_jax.data.windows import SHORTEST
from awd_jax.data_rules import DATA_RULES
from awd_jax.errors import InputError
from awd_jax.model_rules import CHECKS, MODEL_RULES
from awd_jax.rules import (
    COUNT,
    COUNT_OR_0,
    EPOCHS,
    FLAG,
    FRACTION,
    NAME,
    NOT_NEGATIVE,
    PATH,
    PATHS,
    POSITIVE,
    SEED,
    SHARE,
    TEXT,
    Rule,
    is_int,
    one_of,
    tuple_of,
)

BPTT = Rule(
    f"must be a whole number in [{SHORTEST}, 2**31): no window is drawn shorter than {SHORTEST}",
    lambda v: COUNT.holds(v) and v >= SHORTEST,
)
NONMONO = Rule(  # every checkpoint holds this many losses
    "must be a whole number in [1, 10**6]", lambda v: is_int(v) and 1 <= v <= 10**6
)
LENGTH_PENALTY = Rule(  # beyond, its power of a length is no float32
    "must be a number in [0, 10]", lambda v: NOT_NEGATIVE.holds(v) and v <= 10
)
INPUT = Rule("must be a file, or '-'", lambda v: v != "" and PATH.holds(v))


def _temperature(group: str) -> Rule:
    words = f"{POSITIVE.words}; for 0 set --config.{group}.method=greedy"
    return Rule(words, POSITIVE.holds)


_ALL_MEASURES = [name for names in MEASURES.values() for name in names]
MEASURES_RULE = Rule(
    f"must be a tuple of some of {', '.join(_ALL_MEASURES)}",
    lambda v: isinstance(v, tuple | list) and all(name in _ALL_MEASURES for name in v),
)

RULES = {
    "name": NAME,
    "model.name": one_of(*MODEL_RULES),
    "optimizer.name": one_of("sgd", "adam"),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.adam_beta1": SHARE,
    "optimizer.adam_beta2": SHARE,
    "optimizer.schedule": one_of("constant", "cosine", "inverse_sqrt", "halving", "slanted"),
    "optimizer.warmup_steps": COUNT_OR_0,
    "optimizer.schedule_steps": COUNT_OR_0,
    "optimizer.num_halvings": COUNT_OR_0,
    "optimizer.final_rate_factor": SHARE,
    "optimizer.embed_rate_factor": POSITIVE,
    "optimizer.layer_rate_factor": FRACTION,
    "optimizer.thaw_epochs": COUNT_OR_0,
    "optimizer.base_batch_size": COUNT_OR_0,
    "optimizer.max_grad_norm": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.decay_epochs": EPOCHS,
    "optimizer.plateau_factor": FRACTION,
    "optimizer.averaging": FLAG,
    "optimizer.nonmono": NONMONO,
    "train.seed": SEED,
    "train.batch_size": COUNT,
    "train.bptt": BPTT,
    "train.random_windows": FLAG,
    "train.num_epochs": COUNT,
    "train.activation_reg": NOT_NEGATIVE,
    "train.temporal_activation_reg": NOT_NEGATIVE,
    "train.valid_batch_size": COUNT,
    "train.test_batch_size": COUNT,
    "train.measures": MEASURES_RULE,
    "train.best_by": one_of("nll", *_ALL_MEASURES),
    "train.evaluate_raw": FLAG,
    "train.num_devices": COUNT_OR_0,
    "train.log_steps": COUNT,
    "train.checkpoint_minutes": NOT_NEGATIVE,
    "train.checkpoint_steps": COUNT_OR_0,
    "train.num_samples": COUNT_OR_0,
    "generate.prompt": TEXT,
    "generate.num_tokens": COUNT,
    "generate.num_samples": COUNT,
    "generate.method": one_of("sample", "greedy", "beam"),
    "generate.temperature": _temperature("generate"),
    "generate.top_k": COUNT_OR_0,
    "generate.top_p": FRACTION,
    "generate.beam_size": COUNT,
    "generate.seed": SEED,
    "generate.until_eos": FLAG,
    "generate.forbid_unk": FLAG,
    "score.input": INPUT,
    "score.output": PATH,
    "score.format": one_of("tsv", "jsonl"),
    "score.per_token": FLAG,
    "score.carry": FLAG,
    "score.batch_size": COUNT,
    "translate.input": INPUT,
    "translate.output": PATH,
    "translate.format": one_of("tsv", "jsonl"),
    "translate.method": one_of("sample", "greedy", "beam"),
    "translate.num_tokens": COUNT,
    "translate.beam_size": COUNT,
    "translate.num_best": COUNT,
    "translate.length_penalty": LENGTH_PENALTY,
    "translate.coverage_penalty": NOT_NEGATIVE,
    "translate.temperature": _temperature("translate"),
    "translate.top_k": COUNT_OR_0,
    "translate.top_p": FRACTION,
    "translate.seed": SEED,
    "translate.forbid_unk": FLAG,
    "translate.attention": FLAG,
    "translate.batch_size": COUNT,
    "predict.input": INPUT,
    "predict.output": PATH,
    "predict.format": one_of("tsv", "jsonl"),
    "predict.also": PATH,
    "predict.batch_size": COUNT,
    "align.input": PATH,
    "align.num_pairs": COUNT,
    "plot.also": PATHS,
    "import_model.path": PATH,
    "import_model.vocabulary": PATH,
    "import_model.labels": PATH,
    "import_model.tokens": one_of("file", "corpus"),
    "import_model.eos_token": TEXT,
    "import_model.unk_token": TEXT,
    "export_model.format": one_of("safetensors", "torch", "stablehlo"),
    "export_model.dir": PATH,
    "cache.window": COUNT,
    "cache.theta": NOT_NEGATIVE,
    "cache.lamb": SHARE,
    "dynamic.learning_rate": NOT_NEGATIVE,
    "dynamic.lamb": NOT_NEGATIVE,
    "dynamic.eps": POSITIVE,
    "dynamic.segment": COUNT,
    "dynamic.batch_size": COUNT,
    "tune_cache.windows": tuple_of(COUNT),
    "tune_cache.thetas": tuple_of(NOT_NEGATIVE),
    "tune_cache.lambs": tuple_of(SHARE),
    "tune_dynamic.learning_rates": tuple_of(NOT_NEGATIVE),
    "tune_dynamic.lambs": tuple_of(NOT_NEGATIVE),
    "tune_dynamic.epsilons": tuple_of(POSITIVE),
    "tune_dynamic.max_tokens": COUNT_OR_0,
    "tune_temperature.temperatures": tuple_of(POSITIVE),
}


def rules_of(*models: str) -> dict[str, Rule]:
    """Returns the rules of a config with one of these models, by dotted names of its fields."""
    groups = {"data": DATA_RULES, "model": MODEL_RULES}
    return RULES | {
        f"{group}.{n}": rule
        for group, rules in groups.items()
        for model in models
        for n, rule in rules[model].items()
    }


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns a config as one dict with dotted names."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{name}.{inner}": v for inner, v in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def check(config: ConfigDict) -> None:
    """Checks every field against its rule, and those fields that depend on one another.

    Raises:
      InputError: a missing or unknown field, or a value that breaks its rule.
    """
    flat = flatten(config)
    rules = rules_of(*(name for name in MODEL_RULES if name == flat.get("model.name")))
    for name in rules:
        if name not in flat:
            of_model = name.startswith(("data.", "model."))
            raise InputError(
                f"config.{name}",
                "is missing",
                f"give a recipe of this model, {flat['model.name']}, as --config"
                if of_model and "model.name" in flat
                else "start from configs/default.py, which has every field",
            )
    for name in sorted(flat, key=lambda name: name != "model.name"):  # it decides the others
        if name not in rules:
            raise InputError(
                f"config.{name}", "is not a known field", "see configs/default.py for all of them"
            )
        if not rules[name].holds(flat[name]):
            raise InputError(
                f"config.{name} = {flat[name]!r}", rules[name].words, f"set --config.{name}=..."
            )
    check_optimizer(config.optimizer)
    CHECKS[config.model.name](config.model)
    check_training(config)
    if config.model.name == "bits":
        check_bits(config.data, bits.EXERCISES[config.data.corpus].least)
