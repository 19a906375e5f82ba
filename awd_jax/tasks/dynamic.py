"""Dynamic evaluation of valid and test, with and without the cache."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from awd_jax.batches import Window
from awd_jax.core.dynamic import (
    DynamicRates,
    DynamicState,
    GradientScale,
    SquaresState,
    gradient_scale,
    score_dynamically,
    sum_squares,
)
from awd_jax.data.windows import WindowPlan, batchify
from awd_jax.models.contract import Carry, LanguageModel
from awd_jax.tasks.cache import (
    STATIC_NAMES,
    CacheCarry,
    Mix,
    Stream,
    make_mix,
    make_score,
    make_static_pass,
    one_sequence_each,
    start_carry,
    useful_window,
)
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.passes import Scored, pass_result, run_pass, say_pass, segments
from awd_jax.tasks.results import leave_json

BLOCK = 64  # segments per call, looped over on the device
DYNAMIC_NAMES = ("dynamic", "dynamic_cache")  # the models that a dynamic pass scores


def measure_gradients(
    model: LanguageModel, params: optax.Params, plan: WindowPlan
) -> GradientScale:
    """Measures each parameter's usual gradient: MS over the windows of train, without dropout."""

    def loss_fn(
        params: optax.Params, carry: Carry, window: Window
    ) -> tuple[Float[Array, ""], tuple[Carry, None]]:
        scored = model.score(params, window, carry)
        return _mean(scored.nll, window), (scored.carry, None)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(
        params: optax.Params, state: SquaresState, block: Window
    ) -> tuple[SquaresState, Float[Array, ""]]:
        return sum_squares(loss_fn, params, state, block), jnp.zeros(())

    carry = model.initial_carry(plan.num_sequences)
    state = SquaresState(jax.tree.map(jnp.zeros_like, params), carry)
    state, _ = run_pass(functools.partial(step, params), state, plan, BLOCK, "gradients on train")
    return gradient_scale(state.squares, len(plan))


def _mean(nll: Float[Array, ""], window: Window) -> Float[Array, ""]:
    return nll / jnp.maximum(window.counts.tokens, 1.0)  # a window may be pure padding


def make_dynamic_pass(
    model: LanguageModel, mix: Mix, cache_window: int, segment: int, num_segments: int = BLOCK
) -> Callable[[optax.Params, GradientScale, DynamicRates, Stream, str], Scored]:
    """Returns a pass (trained params, scale, rates, stream, name) -> Scored.

    The gradient is that of the softmax alone; the cache holds features as they were when their
    position was scored.

    Args:
      model: the model of the parameters.
      mix: the models to score.
      cache_window: W, in tokens.
      segment: number of tokens that are scored, then learned from.
      num_segments: segments per call; does not change the result.
    """
    score = make_score(model, mix)

    def loss_fn(
        params: optax.Params, carry: CacheCarry, window: Window
    ) -> tuple[Float[Array, ""], tuple[CacheCarry, Array]]:
        window_score, carry = score(params, carry, window)
        return _mean(window_score.nll, window), (carry, window_score.sums)

    @functools.partial(jax.jit, donate_argnums=3)
    def step(
        trained: optax.Params,
        scale: GradientScale,
        rates: DynamicRates,
        state: DynamicState,
        block: Window,
    ) -> tuple[DynamicState, Array]:
        state, sums = score_dynamically(loss_fn, state, block, trained, scale, rates)
        return state, sums.sum(axis=0)

    def dynamic_pass(
        trained: optax.Params, scale: GradientScale, rates: DynamicRates, stream: Stream, name: str
    ) -> Scored:
        # A copy: the state is donated, but the trained parameters are still needed.
        state = DynamicState(jax.tree.map(jnp.copy, trained), start_carry(model, cache_window))
        rates = jax.tree.map(jnp.float32, rates)  # as arrays, so other rates reuse the program
        bound = functools.partial(step, trained, scale, rates)
        return run_pass(bound, state, segments(stream, segment), num_segments, name)[1]

    return dynamic_pass


def dynamic(config: ConfigDict, workdir: Path) -> None:
    """Scores valid and test statically and dynamically, each with and without the cache.

    Prints all four losses and writes dynamic.json. Each split is a single sequence (batch 1) and
    starts from the trained parameters.

    Raises:
      InputError: as `load_best_model` and `read_splits`; or a split is too short.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    streams = one_sequence_each(corpus)
    group = config.dynamic
    train = batchify(corpus.train, group.batch_size, "config.dynamic.batch_size =")
    scale = measure_gradients(best.model, best.params, segments(train, group.segment))
    rates = DynamicRates(group.learning_rate, group.lamb, group.eps)
    mix = make_mix(config.cache)
    window = useful_window(config.cache.window, *map(len, streams.values()))
    static_pass = make_static_pass(best.model, mix, window)
    dynamic_pass = make_dynamic_pass(best.model, mix, window, group.segment)
    result: dict[str, Any] = {
        "step": best.step,
        "settings": {"cache": config.cache.to_dict(), "dynamic": group.to_dict()},
    }
    for split, stream in streams.items():
        scored = static_pass(best.params, stream, f"{split}, static")
        result[split] = pass_result(STATIC_NAMES, scored)
        leave_json(workdir, "dynamic", result)
        say_pass(split, STATIC_NAMES, scored, corpus.level)
        scored = dynamic_pass(best.params, scale, rates, stream, f"{split}, dynamic")
        result[split] |= pass_result(DYNAMIC_NAMES, scored)
        leave_json(workdir, "dynamic", result)
        say_pass(split, DYNAMIC_NAMES, scored, corpus.level)
