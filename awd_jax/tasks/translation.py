"""Translates sources in parallel, those of similar length side by side."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Int32
from ml_collections import ConfigDict

from awd_jax.batches import Counts, Pair
from awd_jax.core.beam import Penalties, search
from awd_jax.core.decoding import Choose, choose_best, decode, sampler
from awd_jax.core.keys import as_threefry
from awd_jax.data.windows import bucket
from awd_jax.errors import InputError
from awd_jax.models.contract import Carry
from awd_jax.tasks.decoding import cut_at, filter_logits, forbid_unk
from awd_jax.tasks.lines import Line, similar_lengths
from awd_jax.tasks.model_file import BestModel
from awd_jax.train.state import Purpose, make_key


class Hypothesis(NamedTuple):
    """A translation of a source."""

    tokens: list[str]  # without `<eos>`
    num_tokens: int  # with it, unless it is as long as a translation may be
    score: float  # that of the beam; else its log-probability, in nats
    attention: Float32[np.ndarray, "N S"] | None  # of its `num_tokens` to the source, if asked for


class Batch(NamedTuple):
    """The `N` best translations of each of a batch of sources; its scores fall along N."""

    tokens: Int[Any, "B N T"]
    scores: Float[Any, "B N"]  # -inf: there are no more translations
    lengths: Int[Any, "B N"]


def check_attention(config: ConfigDict, wanted: str) -> None:
    """Checks that the config's model has attention, which `wanted` needs.

    Raises:
      InputError: it has none.
    """
    if config.model.attention == "none":
        raise InputError(
            wanted,
            "needs a model with attention, and config.model.attention = none",
            "leave it out, or train a model with attention",
        )


class LineTranslator:
    """Translates lines, as a group `translate` of a config says."""

    def __init__(self, options: ConfigDict, best: BestModel) -> None:
        self._options = options
        self._best = best
        self._translate = jax.jit(functools.partial(_translate, options, best))
        self._align = jax.jit(best.model.alignment)

    def translate(self, lines: list[Line], start: int) -> list[list[Hypothesis]]:
        """Returns the translations of each line, best first.

        Args:
          lines: the sources.
          start: number of the first one, from 0 on: what is drawn for a source depends on the seed
            and its number.
        """
        found: list[list[Hypothesis]] = [[] for _ in lines]
        width, groups = similar_lengths(lines, self._options.batch_size)
        for group in groups:
            hypotheses = self._translate_batch([lines[i].ids for i in group], start + group, width)
            for i, of_line in zip(group, hypotheses, strict=True):
                found[i] = of_line
        return found

    def attend(self, source: Line, target: Line) -> Float32[np.ndarray, "N S"]:
        """Returns the attention of each token of a target, which ends with `<eos>`, to a source."""
        tokens, _ = _pad([target.ids])
        one = Batch(tokens.T[None], np.zeros((1, 1)), np.array([[len(target.ids)]]))
        (attention,) = self._attend(*_pad([source.ids]), one)
        return attention[: len(target.ids), 0, : len(source.ids)]

    def _translate_batch(
        self, sources: list[Int32[np.ndarray, "_"]], numbers: Int[np.ndarray, "n"], width: int
    ) -> list[list[Hypothesis]]:
        columns = np.minimum(np.arange(width), len(sources) - 1)  # idle ones repeat the last source
        padded, weights = _pad([sources[i] for i in columns])
        found = jax.device_get(
            self._translate(self._best.params, padded, weights, numbers[columns].astype(np.int32))
        )
        attention = self._attend(padded, weights, found) if self._options.attention else None
        return [
            [
                self._hypothesis(found, attention, column, rank, len(sources[column]))
                for rank in range(found.scores.shape[1])
                if found.scores[column, rank] > -np.inf
            ]
            for column in range(len(sources))
        ]

    def _attend(
        self,
        sources: Int32[np.ndarray, "S B"],
        weights: Float32[np.ndarray, "S B"],
        found: Batch,
    ) -> list[Float32[np.ndarray, "T B S"]]:
        """Returns the attention of the translations of each rank."""
        eos = self._best.vocabulary.eos_id
        attention = []
        for rank in range(found.scores.shape[1]):
            targets, lengths = found.tokens[:, rank].T, found.lengths[:, rank]
            inputs = np.concatenate([np.full_like(targets[:1], eos), targets[:-1]])
            real = _mask(len(targets), lengths)
            counts = Counts(np.float32(real.sum()), np.float32(real[1:].sum()))
            pair = Pair(sources, weights, inputs, targets, real, counts)
            attention.append(np.asarray(self._align(self._best.params, pair)))
        return attention

    def _hypothesis(
        self,
        found: Batch,
        attention: list[Float32[np.ndarray, "T B S"]] | None,
        column: int,
        rank: int,
        source_length: int,
    ) -> Hypothesis:
        vocabulary = self._best.vocabulary
        num_tokens = int(found.lengths[column, rank])
        ids = cut_at(vocabulary.eos_id, np.asarray(found.tokens[column, rank, :num_tokens]))
        return Hypothesis(
            vocabulary.decode(ids),
            num_tokens,
            float(found.scores[column, rank]),
            None if attention is None else attention[rank][:num_tokens, column, :source_length],
        )


def _translate(
    options: ConfigDict,
    best: BestModel,
    params: optax.Params,
    sources: Int[Array, "S B"],
    weights: Float[Array, "S B"],
    numbers: Int[Array, "B"],
) -> Batch:
    """Translates a batch of sources, as one program."""
    model, eos = best.model, best.vocabulary.eos_id

    def next_logits(carry: Carry, tokens: Int[Array, "B"]) -> tuple[Float[Array, "B V"], Carry]:
        log_probs, carry = model.log_probs(params, tokens[None], carry)
        return forbid_unk(options, best, log_probs[0]), carry

    def next_log_probs(carry: Carry, tokens: Int[Array, "B"]) -> tuple[Float[Array, "B V"], Carry]:
        logits, carry = next_logits(carry, tokens)
        return jax.nn.log_softmax(logits), carry

    def search_one(carry: Carry, weights: Float[Array, "S"]) -> Batch:
        rates = (options.length_penalty, options.coverage_penalty)
        penalties = Penalties(*rates, model.attended, weights)
        sizes = (options.beam_size, options.num_tokens)
        beams = search(next_logits, carry, eos, eos, *sizes, penalties)
        return Batch(*(x[: options.num_best] for x in (beams.tokens, beams.scores, beams.lengths)))

    carry = model.read(params, sources, weights)
    if options.method == "beam":
        return jax.vmap(search_one)(carry, weights.T)
    choose: Choose = choose_best
    if options.method == "sample":
        seed = as_threefry(make_key(options.seed, Purpose.SAMPLES))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(seed, numbers)
        choose = sampler(keys, functools.partial(filter_logits, options))
    first = jnp.full(len(numbers), eos, jnp.int32)
    decoded = decode(next_log_probs, choose, carry, first, eos, options.num_tokens)
    tokens, log_probs, lengths = (x[:, None] for x in decoded)
    return Batch(tokens, log_probs, lengths)


def _pad(
    lines: list[Int32[np.ndarray, "_"]],
) -> tuple[Int32[np.ndarray, "N B"], Float32[np.ndarray, "N B"]]:
    """Returns lines as columns, and 1 for each token, 0 for padding; of few lengths N."""
    lengths = np.array([len(ids) for ids in lines])
    padded = np.zeros((bucket(int(lengths.max())), len(lines)), np.int32)
    for column, ids in enumerate(lines):
        padded[: len(ids), column] = ids
    return padded, _mask(len(padded), lengths)


def _mask(num_steps: int, lengths: Int[np.ndarray, "B"]) -> Float32[np.ndarray, "N B"]:
    """Returns 1 for the real steps of each column, 0 for its padding."""
    return (np.arange(num_steps)[:, None] < lengths).astype(np.float32)
