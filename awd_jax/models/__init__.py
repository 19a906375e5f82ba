"""The models, by their name in a config."""

from typing import Any

from awd_jax.models.recurrent import RecurrentLM
from awd_jax.models.seq2seq import Seq2Seq
from awd_jax.models.transformer import TransformerLM

MODELS: dict[str, type[Any]] = {
    "recurrent": RecurrentLM,
    "transformer": TransformerLM,
    "seq2seq": Seq2Seq,
}
