"""How good the greedy translations of a split are.

`exact_match` is the share of targets that are met token by token, `token_accuracy` that of single
tokens, `<eos>` included, each at its place. `bleu` and `chrf` are sacrebleu's, of whole corpora,
from 0 to 100, on the text as it is spelled. A target's `<unk>` is never met: none is written.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from awd_jax.batches import Pair
from awd_jax.core.decoding import choose_best, decode
from awd_jax.core.sampling import forbid
from awd_jax.data.buckets import PairPlan
from awd_jax.data.spelling import spell
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from awd_jax.models.contract import Translator
from awd_jax.run.replicas import Replicas
from awd_jax.train.evaluation import outputs


class Found(NamedTuple):
    """A target, and what the model makes of its source; both end at their `<eos>`."""

    target: list[int]
    translation: list[int]


def _exact_match(found: Sequence[Found], texts: Callable[[], tuple]) -> float:
    return sum(target == ours for target, ours in found) / len(found)


def _token_accuracy(found: Sequence[Found], texts: Callable[[], tuple]) -> float:
    right = sum(a == b for target, ours in found for a, b in zip(target, ours, strict=False))
    return right / sum(len(target) for target, _ in found)


def _bleu(found: Sequence[Found], texts: Callable[[], tuple]) -> float:
    import sacrebleu

    ours, targets = texts()
    return float(sacrebleu.corpus_bleu(ours, [targets], force=True).score)


def _chrf(found: Sequence[Found], texts: Callable[[], tuple]) -> float:
    import sacrebleu

    ours, targets = texts()
    return float(sacrebleu.corpus_chrf(ours, [targets]).score)


_MEASURES = {
    "exact_match": _exact_match,
    "token_accuracy": _token_accuracy,
    "bleu": _bleu,
    "chrf": _chrf,
}


def check_measures(names: Sequence[str]) -> None:
    """Checks that the packages of measures are installed.

    Raises:
      InputError: one is not.
    """
    asked = [name for name in names if name in ("bleu", "chrf")]
    if asked and importlib.util.find_spec("sacrebleu") is None:
        raise InputError(
            f"config.train.measures = {tuple(names)}",
            f"{asked[0]} needs sacrebleu",
            "install it: pip install '.[bleu]'",
        )


def make_measure(
    names: Sequence[str],
    vocabulary: Vocabulary,
    level: str,
    model: Translator,
    replicas: Replicas,
    between_batches: Callable[[], None],
) -> Callable[[optax.Params, PairPlan], dict[str, float]]:
    """Returns a function from (params, plan) to the measures with these names.

    Args:
      names: of the measures.
      vocabulary: of the targets.
      level: what a token of them is.
      model: translates.
      replicas: the devices.
      between_batches: called after each batch; may raise to end the measuring.
    """
    translate = replicas.pmap(make_greedy(model, vocabulary), (None, 0), 0, ())

    def measure(params: optax.Params, plan: PairPlan) -> dict[str, float]:
        found: list[Found] = []
        batches = outputs(translate, replicas, params, plan, between_batches)
        for position, tokens in enumerate(batches):
            for row, index in zip(tokens, plan.members(position), strict=False):
                target = [*plan.pairs.targets[int(index)].tolist(), vocabulary.eos_id]
                found.append(Found(target, _to_end(row, vocabulary.eos_id)))

        @functools.cache
        def texts() -> tuple[list[str], list[str]]:
            ours, targets = (
                [spell(vocabulary.decode(ids[:-1]), level) for ids in rows]
                for rows in ([f.translation for f in found], [f.target for f in found])
            )
            return ours, targets

        return {name: _MEASURES[name](found, texts) for name in names}

    return measure


def make_greedy(model: Translator, vocabulary: Vocabulary) -> Callable[..., Any]:
    """Returns a function from (params, batch) to the most probable token of each step, [B, 2T].

    Twice as many steps as targets may have show a translation that does not end.
    """

    def greedy(params: optax.Params, batch: Pair) -> Int[Array, "B TT"]:
        def next_log_probs(carry: Any, last: Int[Array, "B"]) -> tuple[Array, Any]:
            log_probs, carry = model.log_probs(params, last[None], carry)
            unk_id = vocabulary.unk_id
            return log_probs[0] if unk_id is None else forbid(log_probs[0], unk_id), carry

        carry = model.read(params, batch.sources, batch.source_weights)
        num_steps, batch_size = batch.targets.shape
        end = vocabulary.eos_id
        first = jnp.full(batch_size, end, jnp.int32)
        return decode(next_log_probs, choose_best, carry, first, end, 2 * num_steps).tokens

    return greedy


def _to_end(row: Int[np.ndarray, "TT"], eos_id: int) -> list[int]:
    """Returns the tokens up to the first `<eos>`; without any, all, and one after them."""
    ends = np.flatnonzero(row == eos_id)
    return [*row[: ends[0]].tolist(), eos_id] if ends.size else [*row.tolist(), eos_id]
