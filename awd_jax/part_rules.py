"""Rules of the parts of a model: a table's row has its options, and no other's."""

import inspect

from ml_collections import ConfigDict

from awd_jax.core.cells import CELLS
from awd_jax.core.heads import HEADS
from awd_jax.core.parts import Makers, make_part, options
from awd_jax.errors import InputError


def check_cell(model: ConfigDict, narrowest: int) -> None:
    """Checks the cell, its options, its backend, and the features of the narrowest layer.

    Raises:
      InputError: they do not go together.
    """
    _check_options(model, "cell", CELLS)
    try:
        make_part(CELLS, model.cell, model)
    except ValueError as error:  # it has not the backend
        raise InputError(
            f"config.model.backend = {model.backend}",
            f"does not go with config.model.cell = {model.cell} ({error})",
            "leave --config.model.backend out",
        ) from error
    is_qrnn = model.cell == "qrnn"
    num_read = model.memory_heads * model.memory_dim
    refuse(
        model,
        (
            num_read >= narrowest,
            "memory_dim",
            f"leaves the LSTM none of the {narrowest} features of a layer, of which the heads of "
            f"an ntm read {num_read}",
        ),
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
    )


def check_softmax(model: ConfigDict) -> None:
    """Checks the softmax and its options.

    Raises:
      InputError: they do not go together.
    """
    _check_options(model, "softmax", HEADS)
    refuse(
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


def refuse(model: ConfigDict, *faults: tuple[bool, str, str]) -> None:
    """Refuses the first fault, each (whether it is one, field, rule).

    Raises:
      InputError: there is one.
    """
    for is_wrong, name, rule in faults:
        if is_wrong:
            raise InputError(
                f"config.model.{name} = {model[name]}", rule, f"give another --config.model.{name}"
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
