"""The rules of the fields of each model."""

import inspect
import operator
from typing import get_args

from ml_collections import ConfigDict

from awd_jax.core.cells import CELLS, Backend
from awd_jax.core.heads import HEADS
from awd_jax.core.parts import Makers, make_part, options
from awd_jax.errors import InputError
from awd_jax.rules import COUNT, COUNT_OR_0, FLAG, NUMBER, RATE, Rule, is_int, one_of

CUTOFFS = Rule(
    "must be a tuple of ids that increase, each at least 1",
    lambda v: isinstance(v, tuple) and all(map(COUNT.holds, v)) and all(map(operator.lt, v, v[1:])),
)

EVEN = Rule(
    "must be an even number: half of a position's features are sines, half cosines",
    lambda v: COUNT.holds(v) and v % 2 == 0,
)

FILTER_WIDTH = Rule("must be 1 or 2", lambda v: is_int(v) and v in (1, 2))

# Of every model, for its softmax and its arithmetic.
_COMMON = {
    "softmax": one_of(*HEADS),
    "num_components": COUNT_OR_0,
    "cutoffs": CUTOFFS,
    "div_val": COUNT,
    "untie_first_projection": FLAG,
    "latent_dropout_rate": RATE,
    "dropout_kind": one_of("locked", "elementwise"),
    "dtype": one_of("float32", "bfloat16"),
}

# By the name of a model: exactly the fields of its class, except vocab_size.
MODEL_RULES = {
    "recurrent": _COMMON
    | {
        "cell": one_of(*CELLS),
        "backend": one_of(*get_args(Backend)),
        "embed_dim": COUNT,
        "hidden_dim": COUNT,
        "num_layers": COUNT,
        "last_hidden_dim": COUNT_OR_0,
        "residual": FLAG,
        "sum_outputs": FLAG,
        "forget_gate_bias": NUMBER,
        "cap_input_gate": FLAG,
        "mogrifier_rounds": COUNT_OR_0,
        "mogrifier_rank": COUNT_OR_0,
        "filter_width": FILTER_WIDTH,
        "embed_dropout_rate": RATE,
        "input_dropout_rate": RATE,
        "hidden_dropout_rate": RATE,
        "output_dropout_rate": RATE,
        "state_dropout_rate": RATE,
        "weight_drop_rate": RATE,
        "input_weight_drop_rate": RATE,
    },
    "transformer": _COMMON
    | {
        "positions": one_of("relative", "absolute"),
        "embed_dim": EVEN,
        "num_layers": COUNT,
        "num_heads": COUNT,
        "head_dim": COUNT,
        "inner_dim": COUNT,
        "share_biases": FLAG,
        "norm_first": FLAG,
        "memory_length": COUNT_OR_0,
        "clamp_length": COUNT_OR_0,
        "same_length": FLAG,
        "eval_memory_length": COUNT,
        "eval_clamp_length": COUNT_OR_0,
        "embed_dropout_rate": RATE,
        "input_dropout_rate": RATE,
        "attention_dropout_rate": RATE,
        "attended_dropout_rate": RATE,
        "feedforward_dropout_rate": RATE,
        "output_dropout_rate": RATE,
        "weight_drop_rate": RATE,
    },
}


def check_recurrent(model: ConfigDict) -> None:
    """Checks the fields of a recurrent model that depend on one another.

    Raises:
      InputError: two of them do not go together.
    """
    _check_options(model, "cell", CELLS)
    _check_softmax(model)
    try:
        make_part(CELLS, model.cell, model)
    except ValueError as error:  # it has not the backend
        raise InputError(
            f"config.model.backend = {model.backend}",
            f"does not go with config.model.cell = {model.cell} ({error})",
            "leave --config.model.backend out",
        ) from error
    is_qrnn = model.cell == "qrnn"
    last_dim = model.last_hidden_dim or model.embed_dim
    output_dims = {last_dim, *(model.hidden_dim for _ in range(1, min(model.num_layers, 2)))}
    _refuse(
        model,
        (
            model.backend == "cudnn" and model.state_dropout_rate > 0,
            "state_dropout_rate",
            "needs another backend than cudnn, which has no mask within its loop",
        ),
        (
            is_qrnn and model.state_dropout_rate > 0,
            "state_dropout_rate",
            "drops h where it enters a product, and in qrnn it enters none",
        ),
        (
            is_qrnn and model.input_weight_drop_rate > 0,
            "input_weight_drop_rate",
            "is not for qrnn, whose only matrix is under weight_drop_rate",
        ),
        (
            model.sum_outputs and len(output_dims) > 1,
            "sum_outputs",
            f"needs layers of the same width, not of {' and '.join(map(str, sorted(output_dims)))}",
        ),
        (
            model.softmax != "mixture" and last_dim != model.embed_dim,
            "last_hidden_dim",
            f"must be 0 or embed_dim where config.model.softmax = {model.softmax}",
        ),
    )


def check_transformer(model: ConfigDict) -> None:
    """Checks the fields of a Transformer that depend on one another.

    Raises:
      InputError: two of them do not go together.
    """
    _check_softmax(model)
    of_relative = ("clamp_length", "eval_clamp_length", "same_length")
    is_absolute = model.positions == "absolute"
    _refuse(
        model,
        *(
            (is_absolute and bool(model[name]), name, "is for relative positions")
            for name in of_relative
        ),
        (is_absolute and not model.share_biases, "share_biases", "is for relative positions"),
        (
            model.same_length and not model.memory_length,
            "same_length",
            "is as many tokens as memory_length, which is 0",
        ),
    )


CHECKS = {"recurrent": check_recurrent, "transformer": check_transformer}


def _check_softmax(model: ConfigDict) -> None:
    _check_options(model, "softmax", HEADS)
    _refuse(
        model,
        (
            model.div_val ** len(model.cutoffs) > model.embed_dim,
            "div_val",
            f"leaves the last cluster no feature of {model.embed_dim}",
        ),
        (
            model.untie_first_projection and model.div_val == 1,
            "untie_first_projection",
            "is for a div_val above 1: else there is no projection",
        ),
    )


def _refuse(model: ConfigDict, *faults: tuple[bool, str, str]) -> None:
    """Raises the first fault (whether it is one, field, rule)."""
    for is_wrong, name, rule in faults:
        if is_wrong:
            raise InputError(
                f"config.model.{name} = {model[name]}", rule, f"leave --config.model.{name} out"
            )


def _check_options(model: ConfigDict, field: str, table: Makers) -> None:
    """Checks that the part which `field` chooses from a table has its options, and no other's."""
    chosen = options(table[model[field]])
    owners: dict[str, list[str]] = {}
    for row, make in table.items():
        for name in options(make):
            owners.setdefault(name, []).append(row)
    for name, rows in owners.items():
        default = options(table[rows[0]])[name]
        needs_value = default is inspect.Parameter.empty
        is_off = not model[name] if needs_value else model[name] == default
        choice = f"config.model.{field} = {model[field]}"
        if name not in chosen and not is_off:
            raise InputError(
                f"config.model.{name} = {model[name]}",
                f"is for {field} {' or '.join(rows)}, and {choice}",
                f"leave --config.model.{name} out",
            )
        if name in chosen and needs_value and is_off:
            raise InputError(
                f"config.model.{name} = {model[name]}",
                f"is needed where {choice}",
                f"set --config.model.{name}=...",
            )
