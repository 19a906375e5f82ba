"""The rule of every config field, checked before any device work."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from ml_collections import ConfigDict

from awd_jax.core.unroll import Backend
from awd_jax.data.corpus import NAMES
from awd_jax.data.text import LEVELS
from awd_jax.errors import InputError


class Rule(NamedTuple):
    """What a value must be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and abs(value) < float("inf")


def one_of(*choices: str) -> Rule:
    """One of a few words."""
    return Rule("must be one of " + ", ".join(choices), lambda v: v in choices)


TEXT = Rule("must be a string", lambda v: isinstance(v, str))
FLAG = Rule("must be True or False", lambda v: isinstance(v, bool))
RATE = Rule("must be a drop probability in [0, 1)", lambda v: _is_number(v) and 0 <= v < 1)
POSITIVE = Rule("must be a number above 0", lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Rule("must be a number of at least 0", lambda v: _is_number(v) and v >= 0)
COUNT = Rule("must be a whole number of at least 1", lambda v: _is_int(v) and v >= 1)
COUNT_OR_0 = Rule("must be a whole number of at least 0", lambda v: _is_int(v) and v >= 0)
SHARE = Rule("must be a number in [0, 1)", lambda v: _is_number(v) and 0 <= v < 1)
SEED = Rule(  # jax folds larger ones into these
    "must be a whole number in [0, 2**32)", lambda v: _is_int(v) and 0 <= v < 2**32
)
EPOCHS = Rule(
    "must be a tuple of epochs, each at least 1",
    lambda v: isinstance(v, tuple | list) and all(_is_int(e) and e >= 1 for e in v),
)


def tuple_of(rule: Rule) -> Rule:
    """A tuple of at least one, each keeping a rule."""
    return Rule(
        f"must be a tuple of at least one, each of which {rule.words}",
        lambda v: isinstance(v, tuple | list) and len(v) > 0 and all(map(rule.holds, v)),
    )


NAME = Rule(
    "must be a name of letters, digits, '.', '_' and '-'",
    lambda v: isinstance(v, str) and re.fullmatch(r"[\w.-]*[\w-][\w.-]*", v, re.ASCII) is not None,
)

RULES = {
    "name": NAME,
    "data.corpus": one_of(*NAMES),
    "data.dir": TEXT,
    "data.level": one_of(*LEVELS),
    "data.vocabulary": one_of("train", "all"),
    "data.max_tokens": COUNT_OR_0,
    "model.embed_dim": COUNT,
    "model.hidden_dim": COUNT,
    "model.num_layers": COUNT,
    "model.embed_dropout_rate": RATE,
    "model.input_dropout_rate": RATE,
    "model.hidden_dropout_rate": RATE,
    "model.output_dropout_rate": RATE,
    "model.weight_drop_rate": RATE,
    "model.input_weight_drop_rate": RATE,
    "model.lstm_backend": one_of(*get_args(Backend)),
    "model.dtype": one_of("float32", "bfloat16"),
    "optimizer.name": one_of("sgd", "adam"),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.base_batch_size": COUNT_OR_0,
    "optimizer.max_grad_norm": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.decay_epochs": EPOCHS,
    "optimizer.averaging": FLAG,
    "optimizer.nonmono": COUNT,
    "train.seed": SEED,
    "train.batch_size": COUNT,
    "train.bptt": COUNT,
    "train.num_epochs": COUNT,
    "train.activation_reg": NOT_NEGATIVE,
    "train.temporal_activation_reg": NOT_NEGATIVE,
    "train.valid_batch_size": COUNT,
    "train.test_batch_size": COUNT,
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
    "generate.temperature": POSITIVE,
    "generate.top_k": COUNT_OR_0,
    "generate.top_p": Rule("must be a number in (0, 1]", lambda v: _is_number(v) and 0 < v <= 1),
    "generate.beam_size": COUNT,
    "generate.seed": SEED,
    "generate.until_eos": FLAG,
    "generate.forbid_unk": FLAG,
    "score.input": Rule("must be a file, or '-'", lambda v: isinstance(v, str) and v != ""),
    "score.output": TEXT,
    "score.format": one_of("tsv", "jsonl"),
    "score.per_token": FLAG,
    "score.carry": FLAG,
    "score.batch_size": COUNT,
    "import_model.path": TEXT,
    "import_model.vocabulary": TEXT,
    "import_model.tokens": one_of("file", "corpus"),
    "import_model.eos_token": TEXT,
    "import_model.unk_token": TEXT,
    "export_model.format": one_of("safetensors", "torch", "stablehlo"),
    "export_model.dir": TEXT,
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
}


def flatten(config: ConfigDict) -> dict[str, Any]:
    """A config as one dict with dotted names."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{name}.{inner}": v for inner, v in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def check(config: ConfigDict) -> None:
    """Checks every field against its rule.

    Raises:
      InputError: a missing or unknown field, or a value that breaks its rule.
    """
    flat = flatten(config)
    for name in RULES:
        if name not in flat:
            raise InputError(
                f"config.{name}",
                "is missing",
                "start from configs/default.py, which has every field",
            )
    for name, value in flat.items():
        if name not in RULES:
            raise InputError(
                f"config.{name}", "is no known field", "see configs/default.py for all of them"
            )
        if not RULES[name].holds(value):
            raise InputError(
                f"config.{name} = {value!r}", RULES[name].words, f"set --config.{name}=..."
            )
