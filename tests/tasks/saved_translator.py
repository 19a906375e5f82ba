"""A workdir with a translator in it that is three tables, so that its programs compile fast."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from awd_jax.models import MODELS
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Progress, Validation
from awd_jax.run.workdir import describe
from configs import default

SOURCE_TOKENS = ("<eos>", "<unk>", *"abcde")
TOKENS = ("<eos>", "<unk>", *"ABCD")


class TableCarry(NamedTuple):
    sources: Any  # [B, S]
    weights: Any  # [B, S]
    attended: Any  # [B, S]; None without attention


@dataclasses.dataclass(frozen=True)
class TableTranslator:
    """Logits after a token are the mean, by attention, of a row for each token of the source."""

    vocab_size: int
    source_vocab_size: int
    attention: str
    cutoffs: tuple
    dtype: None = None

    def for_evaluation(self):
        return self

    def initial_carry(self, batch_size):
        return ()

    def sample_masks(self, key, sequence_ids, batch):
        raise NotImplementedError

    def score(self, params, batch, carry, masks=None):
        raise NotImplementedError

    def init_params(self, key):
        keys = jax.random.split(key, 3)
        v, w = self.vocab_size, self.source_vocab_size
        return {
            "rows": 6 * jax.random.normal(keys[0], (w, v, v)),
            "affinity": 2 * jax.random.normal(keys[1], (v, w)),
            "places": jax.random.normal(keys[2], (64,)),  # else attention knows no order
        }

    def read(self, params, sources, source_weights):
        attended = None if self.attention == "none" else jnp.zeros(sources.T.shape)
        return TableCarry(sources.T, source_weights.T, attended)

    def _attention(self, params, inputs, carry):
        sources = carry.sources
        scores = params["affinity"][inputs[:, :, None], sources[None]]
        scores += params["places"][None, None, : sources.shape[1]]
        return jax.nn.softmax(jnp.where(carry.weights[None] > 0, scores, -jnp.inf))

    def log_probs(self, params, inputs, carry):
        attention = self._attention(params, inputs, carry)
        rows = params["rows"][carry.sources[None], inputs[:, :, None]]
        log_probs = jax.nn.log_softmax(jnp.einsum("tbs,tbsv->tbv", attention, rows))
        if carry.attended is None:
            return log_probs, carry
        return log_probs, carry._replace(attended=carry.attended + attention.sum(0))

    def attended(self, carry):
        if carry.attended is None:
            raise ValueError("no attention")
        return carry.attended

    def alignment(self, params, batch):
        carry = self.read(params, batch.sources, batch.source_weights)
        return self._attention(params, batch.inputs, carry)


def make_config(attention="dot"):
    config = default.get_config("smoke")
    config.model = ConfigDict({"name": "table", "attention": attention, "cutoffs": ()})
    config.data.source_level = "word"
    config.data.source_length = 0
    config.translate.num_tokens = 6
    return config


class _Saved(NamedTuple):
    params: Any


def save_translator(
    config: ConfigDict, workdir: Path, source_tokens: tuple[str, ...] = SOURCE_TOKENS
) -> None:
    """Saves a translator."""
    model = TableTranslator(len(TOKENS), len(source_tokens), config.model.attention, ())
    identity = Identity(describe(config, {}), TOKENS, source_tokens)
    with Checkpoints(workdir / "checkpoints", identity) as checkpoints:
        progress = Progress(step=7, epoch=2, window=0, log_bytes=0, best_nll=1.0, num_plateaus=0)
        state = _Saved(model.init_params(jax.random.key(0)))
        checkpoints.save(state, progress, Validation(1.0, ".params"))


@pytest.fixture(autouse=True, scope="module")
def table():
    """Makes the model known to configs, in a module that imports this."""
    MODELS["table"] = TableTranslator
    yield
    del MODELS["table"]
