"""Texts drawn from a model: all side by side, by one compiled step a token."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Int32
from ml_collections import ConfigDict

from awd_jax.core import sampling
from awd_jax.core.beam import Beams, beam_step, init_beams
from awd_jax.core.cells import LSTMState
from awd_jax.data.corpus import Corpus
from awd_jax.data.spelling import spell
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.tasks.model_file import BestModel
from awd_jax.train.state import Purpose, make_key

MAX_TOKENS = 60  # of a sentence
Carry = tuple[LSTMState, ...]
Logits = Float[Array, "B V"]
NextLogits = Callable[[Carry, Int[Array, "B"]], tuple[Logits, Carry]]
Tokens = Int32[np.ndarray, "N"]


def make_next_logits(
    model: AWDLSTM, params: optax.Params, forbidden: int | None = None
) -> NextLogits:
    """Returns (carry, tokens) to the logits after these tokens, and the new carry."""

    def next_logits(carry: Carry, tokens: Int[Array, "B"]) -> tuple[Logits, Carry]:
        logits, output = model.forward(params, tokens[None], carry)
        logits = logits[0] if forbidden is None else sampling.forbid(logits[0], forbidden)
        return logits, output.carry

    return next_logits


def generate_sentences(
    model: AWDLSTM, params: optax.Params, corpus: Corpus, num_sentences: int, seed: int
) -> list[str]:
    """Draws sentences from the softmax, each from an empty history up to its `<eos>`."""
    eos = corpus.vocabulary.eos_id

    @jax.jit
    def draw(params: optax.Params, key: jax.Array) -> jax.Array:
        carry = model.initial_carry(num_sentences)
        first = jnp.full(num_sentences, eos, jnp.int32)
        next_logits = make_next_logits(model, params)
        return sampling.sample_tokens(key, next_logits, carry, first, MAX_TOKENS)

    drawn = np.asarray(draw(params, make_key(seed, Purpose.SAMPLES)))
    return [
        spell(corpus.vocabulary.decode(cut_at(eos, tokens)), corpus.level) for tokens in drawn.T
    ]


def draw_samples(
    config: ConfigDict, best: BestModel, prompt: Tokens
) -> Iterator[Int32[np.ndarray, "B"]]:
    """The next token of each of B texts, again and again; compiled when this returns.

    Args:
      config: the group `generate`; method sample or greedy.
      best: the model.
      prompt: tokens that all texts continue, at least one.
    """
    key = make_key(config.seed, Purpose.SAMPLES)
    forbidden = _forbidden(config, best)

    def step(
        params: optax.Params, carry: Carry, tokens: Int[Array, "B"], t: Int[Array, ""]
    ) -> tuple[Carry, Int[Array, "B"]]:
        logits, carry = make_next_logits(best.model, params, forbidden)(carry, tokens)
        if config.method == "greedy":
            return carry, jnp.argmax(logits, axis=-1).astype(jnp.int32)
        logits = _filter(config, logits)
        return carry, sampling.sample_token(jax.random.fold_in(key, t), logits)

    carry = _read_prompt(best, prompt, config.num_samples)
    tokens = jnp.full(config.num_samples, prompt[-1], jnp.int32)
    compiled = _compile(step, best.params, carry, tokens, jnp.int32(0))

    def draw(carry: Carry, tokens: Array) -> Iterator[Int32[np.ndarray, "B"]]:
        for t in range(config.num_tokens):
            carry, tokens = compiled(best.params, carry, tokens, jnp.int32(t))
            yield np.asarray(tokens)

    return draw(carry, tokens)


def search_beams(config: ConfigDict, best: BestModel, prompt: Tokens) -> Iterator[Beams]:
    """The beams after each step of a search; compiled when this returns.

    Only the last ones it gives may be kept: each step takes the memory of the one before.

    Args:
      config: the group `generate`; method beam.
      best: the model.
      prompt: tokens that all beams continue, at least one.
    """
    forbidden = _forbidden(config, best)
    end = best.vocabulary.eos_id if config.until_eos else None

    def step(params: optax.Params, beams: Beams) -> Beams:
        next_logits = make_next_logits(best.model, params, forbidden)
        return beam_step(beams, next_logits, int(prompt[-1]), end)

    # More beams than there are texts would stay empty; 2**31 are more than can be asked for.
    num_beams = min(config.beam_size, len(best.vocabulary) ** min(config.num_tokens, 31))
    carry = _read_prompt(best, prompt, num_beams)
    beams = init_beams(carry, num_beams, config.num_tokens)
    compiled = _compile(step, best.params, beams)

    def search(beams: Beams) -> Iterator[Beams]:
        for _ in range(config.num_tokens):
            beams = compiled(best.params, beams)
            yield beams

    return search(beams)


def cut_at(end: int, tokens: Tokens) -> Int32[np.ndarray, "M"]:
    """The tokens before the first `end`."""
    ends = np.flatnonzero(tokens == end)
    return tokens[: ends[0]] if ends.size else tokens


def _forbidden(config: ConfigDict, best: BestModel) -> int | None:
    return best.vocabulary.unk_id if config.forbid_unk else None


def _filter(config: ConfigDict, logits: Logits) -> Logits:
    logits = sampling.temper(logits, config.temperature)
    if config.top_k:
        logits = sampling.keep_top_k(logits, min(config.top_k, logits.shape[-1]))
    if config.top_p < 1:
        logits = sampling.keep_nucleus(logits, config.top_p)
    return logits


def _read_prompt(best: BestModel, prompt: Tokens, batch_size: int) -> Carry:
    """The carry after all of the prompt but its last token, for each text."""
    carry = best.model.initial_carry(1)
    if len(prompt) > 1:
        read = jax.jit(lambda p, inputs: best.model.forward(p, inputs, carry)[1].carry)
        carry = read(best.params, jnp.asarray(prompt[:-1, None]))
    return jax.tree.map(lambda s: jnp.tile(s, (batch_size, 1)), carry)


def _compile(step: Callable, *arguments: Any) -> Callable:
    """A step that takes the memory of its second argument; compiled by a first call on copies."""
    compiled = jax.jit(step, donate_argnums=1)
    jax.block_until_ready(compiled(*jax.tree.map(jnp.copy, arguments)))
    return compiled
