"""The continuous cache pointer over valid and test, exact over the whole split."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from awd_jax.core import losses
from awd_jax.core.cache import CacheState, cache_step, init_cache, mix_cache
from awd_jax.core.cells import LSTMState
from awd_jax.data.windows import Batch
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.passes import Scored, Stream, pass_result, run_pass, say_pass, split_streams
from awd_jax.tasks.result import leave_json

CHUNK = 256  # tokens that are scored at once
STATIC_NAMES = ("static", "cache")  # what a static pass scores


class PointerCarry(NamedTuple):
    """What goes from window to window of one sequence."""

    lstm: tuple[LSTMState, ...]
    cache: CacheState


class WindowScore(NamedTuple):
    """How well the targets of one window of one sequence are predicted."""

    nll: Float[Array, "T 1"]  # of each target by the softmax alone
    sums: Float[Array, "*models"]  # of NLL over the real targets, by each model of the mixture


# (log-probabilities of the softmax [T], cache before, last layer's outputs [T, H], targets [T])
# to (log-probabilities of each model [*models, T], cache after)
Mix = Callable[[Array, CacheState, Array, Array], tuple[Array, CacheState]]
Score = Callable[[optax.Params, PointerCarry, Any], tuple[WindowScore, PointerCarry]]


def make_mix(config: ConfigDict) -> Mix:
    """The softmax alone, and with the cache of the config's group `cache`."""

    def mix(log_p: Array, cache: CacheState, hs: Array, targets: Array) -> tuple[Array, CacheState]:
        score, cache = cache_step(cache, hs, targets, config.theta)
        return jnp.stack([log_p, mix_cache(log_p, score, config.lamb)]), cache

    return mix


def make_score(model: AWDLSTM, mix: Mix) -> Score:
    """Returns what scores one window: inputs, targets and weights, each [T, 1]."""

    def score(
        params: optax.Params, carry: PointerCarry, window: Any
    ) -> tuple[WindowScore, PointerCarry]:
        inputs, targets, weights = window
        logits, output = model.forward(params, inputs, carry.lstm)
        nll = losses.token_nll(logits, targets)
        log_p, hs = jax.lax.stop_gradient((-nll[:, 0], output.raw_hs[:, 0]))
        log_probs, cache = mix(log_p, carry.cache, hs, targets[:, 0])
        return WindowScore(nll, -(log_probs @ weights[:, 0])), PointerCarry(output.carry, cache)

    return score


def useful_window(window: int, *num_tokens: int) -> int:
    """The largest W of use for texts so long: before its last token one has no more positions.

    Memory and time grow with W, and must follow the text rather than a flag.
    """
    return min(window, max(num_tokens) - 1)


def start_carry(model: AWDLSTM, cache_window: int) -> PointerCarry:
    """At the start of a text: zeros, and an empty cache."""
    return PointerCarry(model.initial_carry(1), init_cache(cache_window, model.embed_dim))


def make_static_pass(
    model: AWDLSTM, mix: Mix, cache_window: int, chunk: int = CHUNK
) -> Callable[[optax.Params, Stream, str], Scored]:
    """Returns a pass of (params, stream, name) with parameters that stay as they are.

    Args:
      model: of the parameters.
      mix: the models to score.
      cache_window: W.
      chunk: tokens to score at once; does not change the result.
    """
    score = make_score(model, mix)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(params: optax.Params, carry: PointerCarry, block: Batch) -> tuple[PointerCarry, Array]:
        window = jax.tree.map(lambda a: a[0], block)
        window_score, carry = score(params, carry, window)
        return carry, window_score.sums

    def static_pass(params: optax.Params, stream: Stream, name: str) -> Scored:
        carry = start_carry(model, cache_window)
        return run_pass(functools.partial(step, params), carry, stream, chunk, 1, name)[1]

    return static_pass


def cache(config: ConfigDict, workdir: Path) -> None:
    """Scores valid and test without and with the cache; prints both, writes cache.json.

    Both splits are one sequence each (batch 1), so valid is not what training
    prints, where ten sequences start from an empty history.

    Raises:
      InputError: as `load_best_model` and `read_splits`; a split of a single token.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    streams = split_streams(corpus)
    window = useful_window(config.cache.window, *map(len, streams))
    static_pass = make_static_pass(best.model, make_mix(config.cache), window)
    result: dict[str, Any] = {"step": best.step, "settings": {"cache": config.cache.to_dict()}}
    for split, stream in streams._asdict().items():
        scored = static_pass(best.params, stream, split)
        result[split] = pass_result(STATIC_NAMES, scored)
        leave_json(workdir, "cache", result)
        say_pass(split, STATIC_NAMES, scored, corpus.level)
