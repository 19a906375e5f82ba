"""What a run learns: a model and its batches, as the training loop sees them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from awd_jax.batches import Plan
from awd_jax.errors import InputError
from awd_jax.models import MODELS
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


def make_model(config: ConfigDict, vocab_size: int) -> Any:
    """Builds the model of the config's group `model`, whose fields are those of its class.

    Raises:
      InputError: its softmax has clusters beyond the vocabulary.
    """
    fields = config.to_dict()
    if fields["cutoffs"] and fields["cutoffs"][-1] >= vocab_size:
        raise InputError(
            f"config.model.cutoffs = {fields['cutoffs']}",
            f"must lie below the {vocab_size:,} kinds of tokens",
            "lower them, or drop the last ones",
        )
    return MODELS[fields.pop("name")](vocab_size=vocab_size, **fields)
