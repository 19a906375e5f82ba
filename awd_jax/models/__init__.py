"""The models, by their name in a config."""

from collections.abc import Callable
from typing import Any

from awd_jax.models.bits import BitModel
from awd_jax.models.classifier import text_classifier
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.models.seq2seq import Seq2Seq
from awd_jax.models.transformer import TransformerLM

MODELS: dict[str, Callable[..., Any]] = {
    "recurrent": RecurrentLM,
    "transformer": TransformerLM,
    "seq2seq": Seq2Seq,
    "classifier": text_classifier,
    "bits": BitModel,
}
