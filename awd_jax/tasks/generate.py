"""Text drawn from a trained model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from awd_jax.core.sampling import sample_tokens
from awd_jax.data.corpus import Corpus
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.train.state import Purpose, make_key

MAX_TOKENS = 60  # of a sentence


def generate_sentences(
    model: AWDLSTM, params: optax.Params, corpus: Corpus, num_sentences: int, seed: int
) -> list[str]:
    """Draws sentences from the softmax, each from an empty history up to its `<eos>`."""
    eos = corpus.vocabulary.eos_id

    @jax.jit
    def draw(params: optax.Params, key: jax.Array) -> jax.Array:
        def next_logits(carry: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
            logits, output = model.forward(params, tokens[None], carry)
            return logits[0], output.carry

        carry = model.initial_carry(num_sentences)
        first = jnp.full(num_sentences, eos, jnp.int32)
        return sample_tokens(key, next_logits, carry, first, MAX_TOKENS)

    drawn = draw(params, make_key(seed, Purpose.SAMPLES))
    blank = " " if corpus.level == "word" else ""
    return [
        blank.join(corpus.vocabulary.decode(_until(eos, tokens))) for tokens in np.asarray(drawn).T
    ]


def _until(end: int, tokens: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(tokens == end)
    return tokens[: ends[0]] if ends.size else tokens
