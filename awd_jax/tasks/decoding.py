"""Generates texts from a language model in parallel, with one compiled step per token."""

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
from awd_jax.core.decoding import Choose
from awd_jax.data.spelling import spell
from awd_jax.models.contract import Carry, LanguageModel
from awd_jax.tasks.model_file import BestModel
from awd_jax.train.state import Purpose, make_key

MAX_TOKENS = 60  # of a sentence of `generate_sentences`
LogProbs = Float[Array, "B V"]
Tokens = Int32[np.ndarray, "N"]


def generate_sentences(best: BestModel, num_sentences: int, seed: int) -> list[str]:
    """Draws sentences from the softmax, each from an empty history up to its `<eos>`.

    Those of a model that reads from the end are turned, as one reads them.
    """
    eos = best.vocabulary.eos_id
    direction = -1 if best.fields.get("data.backward") else 1
    carry = best.model.initial_carry(num_sentences)
    first = jnp.full(num_sentences, eos, jnp.int32)
    sample = _sample(make_key(seed, Purpose.SAMPLES))
    steps = _draw(best.model, best.params, carry, first, sample, MAX_TOKENS)
    return [
        spell(best.vocabulary.decode(cut_at(eos, tokens)[::direction]), best.level)
        for tokens in np.stack(list(steps), axis=1)
    ]


def draw_samples(
    config: ConfigDict, best: BestModel, prompt: Tokens
) -> Iterator[Int32[np.ndarray, "B"]]:
    """Yields the next token of each of B texts, step by step; compiles before it returns.

    Args:
      config: the group `generate`; its method is sample or greedy.
      best: the model.
      prompt: tokens that all texts continue, at least one.
    """
    sample = _sample(make_key(config.seed, Purpose.SAMPLES))

    def choose(log_probs: LogProbs, t: Int[Array, ""]) -> Int[Array, "B"]:
        log_probs = forbid_unk(config, best, log_probs)
        if config.method == "greedy":
            return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        return sample(filter_logits(config, log_probs), t)

    carry = _read_prompt(best, prompt, config.num_samples)
    first = jnp.full(config.num_samples, prompt[-1], jnp.int32)
    return _draw(best.model, best.params, carry, first, choose, config.num_tokens)


def search_beams(config: ConfigDict, best: BestModel, prompt: Tokens) -> Iterator[Beams]:
    """Yields the beams after each step of a search; compiles before it returns.

    Only the last beams may be kept: each step donates the memory of the previous ones.

    Args:
      config: the group `generate`; its method is beam.
      best: the model.
      prompt: tokens that all beams continue, at least one.
    """
    end = best.vocabulary.eos_id if config.until_eos else None

    def step(params: optax.Params, beams: Beams) -> Beams:
        def next_logits(carry: Carry, tokens: Int[Array, "K"]) -> tuple[LogProbs, Carry]:
            log_probs, carry = best.model.log_probs(params, tokens[None], carry)
            return forbid_unk(config, best, log_probs[0]), carry

        return beam_step(beams, next_logits, int(prompt[-1]), end)

    # Beams beyond the number of possible texts would stay empty. No beam_size exceeds 2**31.
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
    """Returns the tokens before the first `end`."""
    ends = np.flatnonzero(tokens == end)
    return tokens[: ends[0]] if ends.size else tokens


def forbid_unk(config: ConfigDict, best: BestModel, log_probs: LogProbs) -> LogProbs:
    """Excludes `<unk>`, if the config's group says so."""
    unk = best.vocabulary.unk_id if config.forbid_unk else None
    return log_probs if unk is None else sampling.forbid(log_probs, unk)


def filter_logits(config: ConfigDict, logits: LogProbs) -> LogProbs:
    """Applies the filters of the config's group: temperature, top_k and top_p."""
    logits = sampling.temper(logits, config.temperature)
    if config.top_k:
        logits = sampling.keep_top_k(logits, min(config.top_k, logits.shape[-1]))
    if config.top_p < 1:
        logits = sampling.keep_nucleus(logits, config.top_p)
    return logits


def _sample(key: jax.Array) -> Choose:
    """Samples token t with `fold_in(key, t)`, so longer texts extend shorter ones."""
    return lambda logits, t: sampling.sample_token(jax.random.fold_in(key, t), logits)


def _draw(
    model: LanguageModel,
    params: optax.Params,
    carry: Carry,
    first: Int[Array, "B"],
    choose: Choose,
    num_tokens: int,
) -> Iterator[Int32[np.ndarray, "B"]]:
    """Yields the next token of each text, `num_tokens` times; compiles before it returns."""

    def step(
        params: optax.Params, carry: Carry, tokens: Int[Array, "B"], t: Int[Array, ""]
    ) -> tuple[Carry, Int[Array, "B"]]:
        log_probs, carry = model.log_probs(params, tokens[None], carry)
        return carry, choose(log_probs[0], t)

    compiled = _compile(step, params, carry, first, jnp.int32(0))

    def draw(carry: Carry, tokens: Array) -> Iterator[Int32[np.ndarray, "B"]]:
        for t in range(num_tokens):
            carry, tokens = compiled(params, carry, tokens, jnp.int32(t))
            yield np.asarray(tokens)

    return draw(carry, first)


def _read_prompt(best: BestModel, prompt: Tokens, batch_size: int) -> Carry:
    """Returns the carry after all tokens of the prompt except the last, for each text."""
    carry = best.model.initial_carry(1)
    if len(prompt) > 1:
        read = jax.jit(lambda params, inputs: best.model.log_probs(params, inputs, carry)[1])
        carry = read(best.params, jnp.asarray(prompt[:-1, None]))
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, batch_size, axis=0), carry)


def _compile(step: Callable, *arguments: Any) -> Callable:
    """Compiles a step that donates its second argument, by a first call on copies."""
    compiled = jax.jit(step, donate_argnums=1)
    jax.block_until_ready(compiled(*jax.tree.map(jnp.copy, arguments)))
    return compiled
