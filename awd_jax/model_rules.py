"""The rules of the fields of each model."""

import operator
from typing import get_args

from ml_collections import ConfigDict

from awd_jax.core.alignment import ALIGNMENTS
from awd_jax.core.cells import CELLS, Backend
from awd_jax.core.decoder import HandOver, Placement
from awd_jax.core.heads import HEADS
from awd_jax.part_rules import check_cell, check_softmax, refuse
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

# Of every model but bits, for its softmax and its arithmetic.
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

# Of every model that has cells.
_CELL = {
    "cell": one_of(*CELLS),
    "backend": one_of(*get_args(Backend)),
    "forget_gate_bias": NUMBER,
    "cap_input_gate": FLAG,
    "mogrifier_rounds": COUNT_OR_0,
    "mogrifier_rank": COUNT_OR_0,
    "filter_width": FILTER_WIDTH,
    "memory_rows": COUNT_OR_0,
    "memory_dim": COUNT_OR_0,
    "memory_heads": COUNT,
    "max_shift": COUNT_OR_0,
    "hidden_dim": COUNT,
    "hidden_dropout_rate": RATE,
    "output_dropout_rate": RATE,
    "state_dropout_rate": RATE,
    "weight_drop_rate": RATE,
    "input_weight_drop_rate": RATE,
}
# And of those that read tokens.
_OF_CELLS = _CELL | {"embed_dim": COUNT, "embed_dropout_rate": RATE, "input_dropout_rate": RATE}

# Of a language model's stack of cells, and of a classifier's, which is one.
_OF_STACKS = {
    "num_layers": COUNT,
    "last_hidden_dim": COUNT_OR_0,
    "residual": FLAG,
    "sum_outputs": FLAG,
}

# By the name of a model: exactly the fields of its class, except vocab_size.
MODEL_RULES = {
    "recurrent": _COMMON | _OF_CELLS | _OF_STACKS,
    "seq2seq": _COMMON
    | _OF_CELLS
    | {
        "encoder_layers": COUNT,
        "decoder_layers": COUNT,
        "share_embeddings": FLAG,
        "reverse_source": FLAG,
        "bidirectional": one_of("none", "bottom", "all"),
        "residual_from": COUNT_OR_0,
        "hand_over": one_of(*get_args(HandOver)),
        "peeky": FLAG,
        "attention": one_of("none", *ALIGNMENTS),
        "placement": one_of(*get_args(Placement)),
        "attended_dim": COUNT_OR_0,
        "initializer": one_of("parts", "fan_in"),
    },
    "classifier": _COMMON
    | _OF_CELLS
    | _OF_STACKS
    | {
        "dropout_kind": one_of("locked"),
        "head_dim": COUNT,
        "pooled_dropout_rate": RATE,
        "head_dropout_rate": RATE,
        "chunk_length": COUNT,
        "pooled_length": COUNT,
    },
    "bits": _CELL
    | {
        "num_layers": COUNT,
        "dropout_kind": _COMMON["dropout_kind"],
        "dtype": _COMMON["dtype"],
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
    last_dim = model.last_hidden_dim or model.embed_dim
    check_cell(model, min(last_dim, model.hidden_dim) if model.num_layers > 1 else last_dim)
    check_softmax(model)
    output_dims = {last_dim, *(model.hidden_dim for _ in range(1, min(model.num_layers, 2)))}
    refuse(
        model,
        (
            model.sum_outputs and len(output_dims) > 1,
            "sum_outputs",
            f"needs layers of the same width, not of {' and '.join(map(str, sorted(output_dims)))}",
        ),
        (
            model.softmax not in ("mixture", "separate") and last_dim != model.embed_dim,
            "last_hidden_dim",
            f"must be 0 or embed_dim where config.model.softmax = {model.softmax}",
        ),
    )


def check_transformer(model: ConfigDict) -> None:
    """Checks the fields of a Transformer that depend on one another.

    Raises:
      InputError: two of them do not go together.
    """
    check_softmax(model)
    of_relative = ("clamp_length", "eval_clamp_length", "same_length")
    is_absolute = model.positions == "absolute"
    refuse(
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


def check_seq2seq(model: ConfigDict) -> None:
    """Checks the fields of a model from sequence to sequence that depend on one another.

    Raises:
      InputError: two of them do not go together.
    """
    check_cell(model, model.hidden_dim)
    check_softmax(model)
    has_state = model.placement in ("luong", "input_feeding")
    lowest = 3 if model.bidirectional == "bottom" else 2
    refuse(
        model,
        (
            model.attention == "none" and model.placement != "softmax",
            "placement",
            "is of the attention, and config.model.attention = none",
        ),
        (
            model.attended_dim > 0 and not has_state,
            "attended_dim",
            f"is for luong and input_feeding, and config.model.placement = {model.placement}",
        ),
        (
            model.placement == "gnmt" and model.decoder_layers < 2,
            "placement",
            f"needs a layer above the bottom one, and decoder_layers = {model.decoder_layers}",
        ),
        (
            model.hand_over == "none" and model.attention == "none" and not model.peeky,
            "hand_over",
            "needs attention or peeky: else nothing of the source reaches the decoder",
        ),
        (
            model.residual_from > max(model.encoder_layers, model.decoder_layers),
            "residual_from",
            "is above all layers of both sides",
        ),
        (
            0 < model.residual_from < lowest,
            "residual_from",
            f"must be 0, or {lowest} or more: the inputs below are of another kind",
        ),
        (
            model.initializer == "fan_in" and model.forget_gate_bias != 0,
            "forget_gate_bias",
            "is not for config.model.initializer = fan_in, whose biases are 0",
        ),
        (
            model.initializer == "fan_in" and model.attention == "normed_additive",
            "initializer",
            "makes vectors 0, and normed_additive divides one by its norm",
        ),
        (
            model.hand_over == "h" and model.cell == "qrnn",
            "hand_over",
            "takes the h of a state, and that of a qrnn has none",
        ),
    )


CHECKS = {
    "recurrent": check_recurrent,
    "transformer": check_transformer,
    "seq2seq": check_seq2seq,
    "classifier": check_recurrent,
    "bits": lambda model: check_cell(model, model.hidden_dim),
}
