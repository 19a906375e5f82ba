"""Evaluates the continuous cache pointer on valid and test, exactly over each whole split."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32
from ml_collections import ConfigDict

from awd_jax.batches import Window
from awd_jax.core.cache import CacheState, cache_step, init_cache, mix_cache
from awd_jax.data.corpus import Corpus
from awd_jax.data.windows import batchify
from awd_jax.models.contract import Carry, LanguageModel
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.passes import Scored, pass_result, run_pass, say_pass, segments
from awd_jax.tasks.results import leave_json

STEPS = 256  # tokens scored at once
STATIC_NAMES = ("static", "cache")  # the models that a static pass scores


Stream = Int32[np.ndarray, "rows 1"]


class CacheCarry(NamedTuple):
    """State passed from window to window of one sequence."""

    model: Carry
    cache: CacheState


class WindowScore(NamedTuple):
    """The NLL of one window of one sequence, in nats."""

    nll: Float[Array, ""]  # sum over the real targets, of the softmax alone; differentiable
    sums: Float[Array, "*models"]  # sum over the real targets, of each model of the mix


# (log-probabilities of the targets by the softmax [T], cache before, last layer's outputs [T, H],
# targets [T]) -> (log-probabilities of the targets by each model [*models, T], cache after)
Mix = Callable[[Array, CacheState, Array, Array], tuple[Array, CacheState]]
ScoreWindow = Callable[[optax.Params, CacheCarry, Window], tuple[WindowScore, CacheCarry]]


def make_mix(config: ConfigDict) -> Mix:
    """Returns a mix of two models: the softmax alone and with the cache of the group `cache`."""

    def mix(log_p: Array, cache: CacheState, hs: Array, targets: Array) -> tuple[Array, CacheState]:
        score, cache = cache_step(cache, hs, targets, config.theta)
        return jnp.stack([log_p, mix_cache(log_p, score, config.lamb)]), cache

    return mix


def make_score(model: LanguageModel, mix: Mix) -> ScoreWindow:
    """Returns a function that scores one window of one sequence."""

    def score(
        params: optax.Params, carry: CacheCarry, window: Window
    ) -> tuple[WindowScore, CacheCarry]:
        scored = model.score(params, window, carry.model)
        hs = jax.lax.stop_gradient(scored.features.raw_hs[:, 0])
        log_probs, cache = mix(-scored.token_nll[:, 0], carry.cache, hs, window.targets[:, 0])
        sums = -(log_probs @ window.weights[:, 0])
        return WindowScore(scored.nll, sums), CacheCarry(scored.carry, cache)

    return score


def one_sequence_each(corpus: Corpus) -> dict[str, Stream]:
    """Returns valid and test, each as one sequence.

    Raises:
      InputError: one has fewer than two tokens.
    """
    return {"valid": batchify(corpus.valid, 1), "test": batchify(corpus.test, 1)}


def useful_window(window: int, *num_tokens: int) -> int:
    """Returns the largest useful W: a text of n tokens has n - 1 positions before its last one.

    Memory and time grow with W, so the texts must bound it, not only the flag.
    """
    return min(window, max(num_tokens) - 1)


def start_carry(model: LanguageModel, cache_window: int) -> CacheCarry:
    """Returns the carry at the start of a text: the model's, and an empty cache."""
    return CacheCarry(model.initial_carry(1), init_cache(cache_window, model.feature_dim))


def make_static_pass(
    model: LanguageModel, mix: Mix, cache_window: int, steps: int = STEPS
) -> Callable[[optax.Params, Stream, str], Scored]:
    """Returns a pass (params, stream, name) -> Scored, which leaves the parameters unchanged.

    Args:
      model: the model of the parameters.
      mix: the models to score.
      cache_window: W, in tokens.
      steps: tokens to score at once; does not change the result.
    """
    score = make_score(model, mix)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(params: optax.Params, carry: CacheCarry, block: Window) -> tuple[CacheCarry, Array]:
        window_score, carry = score(params, carry, jax.tree.map(lambda a: a[0], block))
        return carry, window_score.sums

    def static_pass(params: optax.Params, stream: Stream, name: str) -> Scored:
        carry = start_carry(model, cache_window)
        bound = functools.partial(step, params)
        return run_pass(bound, carry, segments(stream, steps), 1, name)[1]

    return static_pass


def cache(config: ConfigDict, workdir: Path) -> None:
    """Scores valid and test with and without the cache; prints both and writes cache.json.

    Each split is a single sequence (batch 1), so the loss on valid differs from what training
    prints, where ten sequences start from an empty history.

    Raises:
      InputError: as `load_best_model` and `read_splits`; or a split has a single token.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    streams = one_sequence_each(corpus)
    window = useful_window(config.cache.window, *map(len, streams.values()))
    static_pass = make_static_pass(best.model, make_mix(config.cache), window)
    result: dict[str, Any] = {"step": best.step, "settings": {"cache": config.cache.to_dict()}}
    for split, stream in streams.items():
        scored = static_pass(best.params, stream, split)
        result[split] = pass_result(STATIC_NAMES, scored)
        leave_json(workdir, "cache", result)
        say_pass(split, STATIC_NAMES, scored, corpus.level)
