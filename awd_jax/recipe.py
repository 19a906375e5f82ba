"""The rule of every config field, checked before any device work."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import numpy as np
from ml_collections import ConfigDict

from awd_jax.core.unroll import Backend
from awd_jax.data.corpus import NAMES
from awd_jax.data.text import LEVELS
from awd_jax.data.windows import SHORTEST
from awd_jax.errors import InputError
from awd_jax.files import PATH_RULE, is_local


class Rule(NamedTuple):
    """What a value must be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


SMALLEST, LARGEST = 1.1754944e-38, 3.4028234e38  # float32's normal numbers


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Whether float32, in which programs compute, has it: finite, and not so small as to be 0."""
    if not (_is_int(value) or isinstance(value, float)):
        return False
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def one_of(*choices: str) -> Rule:
    """One of a few words."""
    return Rule("must be one of " + ", ".join(choices), lambda v: v in choices)


TEXT = Rule("must be a string", lambda v: isinstance(v, str))
FLAG = Rule("must be True or False", lambda v: isinstance(v, bool))


def _is_below_1(value: Any) -> bool:
    """Whether it is in [0, 1), in float32 too: 1 - 1e-9 would be 1 there."""
    return _is_number(value) and 0 <= value < 1 and bool(np.float32(value) < 1)


RATE = Rule("must be a drop probability in [0, 1), below 1 in float32 too", _is_below_1)
POSITIVE = Rule(
    "must be a number above 0, from 1.2e-38 to 3.4e38 as float32 has them",
    lambda v: _is_number(v) and v > 0,
)
NOT_NEGATIVE = Rule(
    "must be 0 or a number above it, from 1.2e-38 to 3.4e38 as float32 has them",
    lambda v: _is_number(v) and v >= 0,
)
COUNT = Rule("must be a whole number in [1, 2**31)", lambda v: _is_int(v) and 1 <= v < 2**31)
COUNT_OR_0 = Rule("must be a whole number in [0, 2**31)", lambda v: _is_int(v) and 0 <= v < 2**31)
BPTT = Rule(
    f"must be a whole number in [{SHORTEST}, 2**31): no window is drawn shorter than {SHORTEST}",
    lambda v: COUNT.holds(v) and v >= SHORTEST,
)
NONMONO = Rule(  # so many losses are part of every checkpoint
    "must be a whole number in [1, 10**6]", lambda v: _is_int(v) and 1 <= v <= 10**6
)
TEMPERATURE = Rule(f"{POSITIVE.words}; for 0 set --config.generate.method=greedy", POSITIVE.holds)
SHARE = Rule("must be a number in [0, 1), below 1 in float32 too", _is_below_1)
PATH = Rule(PATH_RULE, lambda v: isinstance(v, str) and is_local(v))
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
    "data.dir": PATH,
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
    "optimizer.nonmono": NONMONO,
    "train.seed": SEED,
    "train.batch_size": COUNT,
    "train.bptt": BPTT,
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
    "generate.temperature": TEMPERATURE,
    "generate.top_k": COUNT_OR_0,
    "generate.top_p": Rule("must be a number in (0, 1]", lambda v: _is_number(v) and 0 < v <= 1),
    "generate.beam_size": COUNT,
    "generate.seed": SEED,
    "generate.until_eos": FLAG,
    "generate.forbid_unk": FLAG,
    "score.input": Rule("must be a file, or '-'", lambda v: v != "" and PATH.holds(v)),
    "score.output": PATH,
    "score.format": one_of("tsv", "jsonl"),
    "score.per_token": FLAG,
    "score.carry": FLAG,
    "score.batch_size": COUNT,
    "import_model.path": PATH,
    "import_model.vocabulary": PATH,
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
    """Checks every field against its rule, and those that depend on one another.

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
    optimizer = config.optimizer
    if optimizer.name == "adam" and optimizer.learning_rate >= 1:
        raise InputError(
            f"config.optimizer.learning_rate = {optimizer.learning_rate}",
            "must be below 1 with adam, which moves every parameter by about the rate",
            "set --config.optimizer.learning_rate=1e-3, or another --config.optimizer.name",
        )
