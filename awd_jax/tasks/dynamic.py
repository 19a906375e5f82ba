"""Dynamic evaluation of valid and test, alone and with the cache."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from awd_jax.core import losses
from awd_jax.core.cells import LSTMState
from awd_jax.core.dynamic import (
    DynamicRates,
    DynamicState,
    GradientScale,
    SquaresState,
    gradient_scale,
    score_dynamically,
    sum_squares,
)
from awd_jax.data.windows import Batch, batchify
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.passes import (
    Scored,
    Stream,
    pass_result,
    run_pass,
    say_pass,
    split_streams,
)
from awd_jax.tasks.pointer import (
    STATIC_NAMES,
    Mix,
    PointerCarry,
    make_mix,
    make_score,
    make_static_pass,
    start_carry,
    useful_window,
)
from awd_jax.tasks.result import leave_json

BLOCK = 64  # segments that one call goes through on the device
DYNAMIC_NAMES = ("dynamic", "dynamic_cache")  # what a dynamic pass scores


def measure_gradients(
    model: AWDLSTM, params: optax.Params, stream: Stream, segment: int
) -> GradientScale:
    """How large each parameter's gradient usually is: MS on the training split, no dropout.

    Args:
      model: of the parameters.
      params: the trained ones.
      stream: train in its batch.
      segment: length of the windows.
    """

    def loss_fn(
        params: optax.Params, carry: tuple[LSTMState, ...], window: Any
    ) -> tuple[Float[Array, ""], tuple[Any, None]]:
        inputs, targets, weights = window
        logits, output = model.forward(params, inputs, carry)
        nll = losses.token_nll(logits, targets)
        return losses.mean_over_real(nll, weights), (output.carry, None)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(
        params: optax.Params, state: SquaresState, block: Batch
    ) -> tuple[SquaresState, Float[Array, ""]]:
        return sum_squares(loss_fn, params, state, block), jnp.zeros(())

    carry = model.initial_carry(stream.shape[1])
    state = SquaresState(jax.tree.map(jnp.zeros_like, params), carry)
    state, _ = run_pass(
        functools.partial(step, params), state, stream, segment, BLOCK, "gradients on train"
    )
    num_windows = -(-(len(stream) - 1) // segment)
    return gradient_scale(state.squares, num_windows)


def make_dynamic_pass(
    model: AWDLSTM, mix: Mix, cache_window: int, segment: int, num_segments: int = BLOCK
) -> Callable[[optax.Params, GradientScale, DynamicRates, Stream, str], Scored]:
    """Returns a pass of (trained params, scale, rates, stream, name).

    The gradient is that of the softmax alone; the cache holds features as they
    were when their position was scored.

    Args:
      model: of the parameters.
      mix: the models to score.
      cache_window: W.
      segment: tokens that are scored, then learnt from.
      num_segments: of one call; does not change the result.
    """
    score = make_score(model, mix)

    def loss_fn(
        params: optax.Params, carry: PointerCarry, window: Any
    ) -> tuple[Float[Array, ""], tuple[PointerCarry, Array]]:
        window_score, carry = score(params, carry, window)
        mean = losses.mean_over_real(window_score.nll, window.weights)
        return mean, (carry, window_score.sums)

    @functools.partial(jax.jit, donate_argnums=3)
    def step(
        trained: optax.Params,
        scale: GradientScale,
        rates: DynamicRates,
        state: DynamicState,
        block: Batch,
    ) -> tuple[DynamicState, Array]:
        state, sums = score_dynamically(loss_fn, state, block, trained, scale, rates)
        return state, sums.sum(axis=0)

    def dynamic_pass(
        trained: optax.Params, scale: GradientScale, rates: DynamicRates, stream: Stream, name: str
    ) -> Scored:
        # A copy: the state is donated, and the trained parameters stay.
        state = DynamicState(jax.tree.map(jnp.copy, trained), start_carry(model, cache_window))
        rates = jax.tree.map(jnp.float32, rates)  # arrays: other rates are the same program
        bound = functools.partial(step, trained, scale, rates)
        return run_pass(bound, state, stream, segment, num_segments, name)[1]

    return dynamic_pass


def dynamic(config: ConfigDict, workdir: Path) -> None:
    """Scores valid and test statically and dynamically, each without and with the cache.

    Prints all four and writes dynamic.json. Each split starts from the trained
    parameters and is one sequence (batch 1).

    Raises:
      InputError: as `load_best_model` and `read_splits`; a split that is too short.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    streams = split_streams(corpus)
    group = config.dynamic
    train = batchify(corpus.train, group.batch_size, "config.dynamic.batch_size =")
    scale = measure_gradients(best.model, best.params, train, group.segment)
    rates = DynamicRates(group.learning_rate, group.lamb, group.eps)
    mix = make_mix(config.cache)
    window = useful_window(config.cache.window, *map(len, streams))
    static_pass = make_static_pass(best.model, mix, window)
    dynamic_pass = make_dynamic_pass(best.model, mix, window, group.segment)
    result: dict[str, Any] = {
        "step": best.step,
        "settings": {"cache": config.cache.to_dict(), "dynamic": group.to_dict()},
    }
    for split, stream in streams._asdict().items():
        scored = static_pass(best.params, stream, f"{split}, static")
        result[split] = pass_result(STATIC_NAMES, scored)
        leave_json(workdir, "dynamic", result)
        say_pass(split, STATIC_NAMES, scored, corpus.level)
        scored = dynamic_pass(best.params, scale, rates, stream, f"{split}, dynamic")
        result[split] |= pass_result(DYNAMIC_NAMES, scored)
        leave_json(workdir, "dynamic", result)
        say_pass(split, DYNAMIC_NAMES, scored, corpus.level)
