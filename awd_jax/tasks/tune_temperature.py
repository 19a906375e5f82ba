"""Searches the temperature of the softmax on valid, then scores test with it."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.batches import Window
from awd_jax.core.losses import token_nll
from awd_jax.core.sampling import temper
from awd_jax.data.windows import batchify
from awd_jax.models.contract import Carry, LanguageModel
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.passes import Scored, pass_result, run_pass, say_pass, segments
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.tune import Point, ranked, ranking

# Log-probabilities held at once (64 MiB of float32), but at least those of one step.
WINDOW_LOG_PROBS = 2**24
MAX_STEPS = 1024  # of a window
NAMES = ("static", "tempered")


def make_temperature_pass(
    model: LanguageModel, temperatures: Sequence[float], window_log_probs: int = WINDOW_LOG_PROBS
) -> Callable[[optax.Params, Int32[np.ndarray, "rows B"], str], Scored]:
    """Returns a pass (params, stream, name) -> Scored, with the mean NLL at each temperature.

    At a temperature t, p(w) is proportional to p(w)^(1/t).

    Args:
      model: the model of the parameters.
      temperatures: above 0.
      window_log_probs: log-probabilities to hold at once; does not change the result.
    """

    @functools.partial(jax.jit, donate_argnums=1)
    def step(
        params: optax.Params, carry: Carry, block: Window
    ) -> tuple[Carry, Float[Array, "temperatures"]]:
        window = jax.tree.map(lambda a: a[0], block)
        log_probs, carry = model.log_probs(params, window.inputs, carry)

        def sum_nll(temperature: Float[Array, ""]) -> Float[Array, ""]:
            nll = token_nll(temper(log_probs, temperature), window.targets)
            # Where a small temperature makes log 0 of padding, 0 times it would be NaN.
            return jnp.sum(jnp.where(window.weights > 0, nll, 0))

        # One after another: all temperatures at once would hold all of their distributions.
        return carry, jax.lax.map(sum_nll, jnp.asarray(temperatures, jnp.float32))

    def temperature_pass(
        params: optax.Params, stream: Int32[np.ndarray, "rows B"], name: str
    ) -> Scored:
        batch_size = stream.shape[1]
        num_steps = max(1, window_log_probs // (batch_size * model.vocab_size))
        num_steps = min(num_steps, MAX_STEPS)  # the scores of attention grow with its square
        carry = model.initial_carry(batch_size)
        bound = functools.partial(step, params)
        return run_pass(bound, carry, segments(stream, num_steps), 1, name)[1]

    return temperature_pass


def tune_temperature(config: ConfigDict, workdir: Path) -> None:
    """Tries every temperature of the group `tune_temperature` on valid; scores test at the best.

    Prints the best, and valid and test without and with it; writes these and all temperatures, the
    best first, to tune_temperature.json. The splits are batched as in training: static is its loss.

    Raises:
      InputError: as `load_best_model` and `read_splits`; or a split is shorter than a batch.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    temperatures = config.tune_temperature.temperatures
    streams = {}
    for split, tokens in (("valid", corpus.valid), ("test", corpus.test)):
        field = f"{split}_batch_size"
        streams[split] = batchify(tokens, config.train[field], f"config.train.{field} =")
    valid_pass = make_temperature_pass(best.model, (1.0, *temperatures))
    scored = valid_pass(best.params, streams["valid"], "temperatures on valid")
    static, *nlls = scored.nlls.tolist()
    points = [Point({"temperature": t}, nll) for t, nll in zip(temperatures, nlls, strict=True)]
    temperature, nll = ranked(points)[0].settings["temperature"], ranked(points)[0].nll
    result: dict[str, Any] = {"step": best.step, "temperature": temperature, **ranking(points)}
    output.say(f"best of {len(points)} | temperature {temperature:g}")

    def keep(split: str, scored: Scored) -> None:
        result[split] = pass_result(NAMES, scored)
        leave_json(workdir, "tune_temperature", result)
        say_pass(split, NAMES, scored, corpus.level)

    keep("valid", scored._replace(nlls=np.array([static, nll])))
    test_pass = make_temperature_pass(best.model, (1.0, temperature))
    keep("test", test_pass(best.params, streams["test"], "test"))
