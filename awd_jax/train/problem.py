"""What a run learns: a model and its batches, as the training loop sees them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from awd_jax.batches import Plan
from awd_jax.errors import InputError, one_line
from awd_jax.models import MODELS
from awd_jax.models.bits import BitModel
from awd_jax.models.contract import Model


class Problem(NamedTuple):
    """A model, its batches, and facts about both."""

    model: Model
    train: Callable[[int], Plan]  # from an epoch, 1 or more, to its batches
    valid: Plan
    test: Plan
    vocabulary: tuple[str, ...]  # in the order of the ids
    fingerprint: dict[str, str]  # checksums of the data, by name
    notes: tuple[str, ...]  # lines to print at the start
    describe_nll: Callable[[float], str]  # formats a mean NLL in nats per token
    guessing_nll: float  # of the uniform distribution, nats per token
    source_nll: float | None  # of the data's source, the best possible; None if unknown
    # Given (model, replicas, what to call between batches), returns a function from (params, plan)
    # to measures by name, floats, and tables, which are none. None: nothing to measure.
    make_measure: Callable[..., Callable[[Any, Any], dict[str, Any]]] | None = None
    source_vocabulary: tuple[str, ...] = ()  # of sequence to sequence, in the order of the ids
    labels: tuple[str, ...] = ()  # of a classifier, in the order of their indices


def make_model(config: ConfigDict, vocab_size: int, **others: Any) -> Any:
    """Builds the model of the config's group `model`, whose fields are those of its class.

    Args:
      config: the group `model`.
      vocab_size: kinds of tokens; of bits, it and `source_vocab_size` count channels.
      **others: further fields, or other values of them.

    Raises:
      InputError: its softmax has clusters beyond the vocabulary.
    """
    fields = config.to_dict() | others
    if fields["name"] == "bits":
        del fields["name"]
        return BitModel(input_dim=fields.pop("source_vocab_size"), output_dim=vocab_size, **fields)
    # A model without heads has no such field.
    if "cutoffs" in fields and max(fields["cutoffs"], default=0) >= vocab_size:
        raise InputError(
            f"config.model.cutoffs = {fields['cutoffs']}",
            f"must lie below the {vocab_size:,} kinds of tokens",
            "lower them, or drop the last ones",
        )
    return MODELS[fields.pop("name")](vocab_size=vocab_size, **fields)


def check_widths(model: Model) -> None:
    """Checks that the parts of a model fit together.

    Raises:
      InputError: a part reads another width than it is given.
    """
    try:
        jax.eval_shape(model.init_params, jax.random.key(0))
    except ValueError as error:
        fix = "give other widths (config.model.embed_dim, hidden_dim, ...) or another part"
        raise InputError("config.model", one_line(error), fix) from error
