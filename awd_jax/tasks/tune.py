"""Grid searches on the validation split, for the cache and for dynamic evaluation."""

import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.core.cache import CacheScore, CacheState, cache_step, mix_cache
from awd_jax.core.dynamic import DynamicRates
from awd_jax.data.windows import batchify
from awd_jax.run.report import describe_nll
from awd_jax.tasks.cache import Mix, make_static_pass, one_sequence_each, useful_window
from awd_jax.tasks.dynamic import make_dynamic_pass, measure_gradients
from awd_jax.tasks.model_file import load_best_model, read_splits
from awd_jax.tasks.passes import nll_result, segments
from awd_jax.tasks.results import leave_json

CACHE_NAMES = ("window", "theta", "lamb")
DYNAMIC_NAMES = ("learning_rate", "lamb", "eps")


class Point(NamedTuple):
    """One combination of settings, and its loss on valid."""

    settings: dict[str, float]
    nll: float  # nats per token


def make_grid_mix(config: ConfigDict) -> Mix:
    """Returns a mix of all combinations in the group `tune_cache`: [windows, thetas, lambs, T]."""
    windows = jnp.asarray(config.windows, jnp.int32)
    thetas, lambs = (jnp.asarray(v, jnp.float32) for v in (config.thetas, config.lambs))

    def mix(log_p: Array, cache: CacheState, hs: Array, targets: Array) -> tuple[Array, CacheState]:
        def score(theta: Array, window: Array) -> CacheScore:
            return cache_step(cache, hs, targets, theta, window)[0]

        def at_window(window: Array) -> Array:
            scores = jax.vmap(score, (0, None))(thetas, window)
            at_theta = jax.vmap(mix_cache, (None, None, 0))
            return jax.vmap(at_theta, (None, 0, None))(log_p, scores, lambs)

        # One window after another: [T, W + T] for the whole grid at once would be large.
        log_probs = jax.lax.map(at_window, windows)
        return log_probs, cache_step(cache, hs, targets, 0.0)[1]

    return mix


def tune_cache(config: ConfigDict, workdir: Path) -> None:
    """Tries every combination of the group `tune_cache` in one pass over valid.

    Prints the best and writes all, the best first, to tune_cache.json.

    Raises:
      InputError: as `load_best_model` and `read_splits`; or a split has a single token.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    valid = one_sequence_each(corpus)["valid"]
    group = config.tune_cache
    window = useful_window(max(group.windows), len(valid))
    grid_pass = make_static_pass(best.model, make_grid_mix(group), window)
    scored = grid_pass(best.params, valid, "valid")
    grid = itertools.product(group.windows, group.thetas, group.lambs)
    points = [
        Point(dict(zip(CACHE_NAMES, values, strict=True)), nll)
        for values, nll in zip(grid, scored.nlls.ravel().tolist(), strict=True)
    ]
    _finish(workdir, "cache", points, corpus.level)


def tune_dynamic(config: ConfigDict, workdir: Path) -> None:
    """Tries every combination of the group `tune_dynamic`, each in a pass over valid.

    Prints each and writes all so far, the best first, to tune_dynamic.json.

    Raises:
      InputError: as `load_best_model` and `read_splits`; or train or valid is too short.
    """
    best = load_best_model(config, workdir)
    corpus = read_splits(config, best)
    group, segment = config.tune_dynamic, config.dynamic.segment
    valid = batchify(corpus.valid[: group.max_tokens or None], 1)
    train = batchify(corpus.train, config.dynamic.batch_size, "config.dynamic.batch_size =")
    scale = measure_gradients(best.model, best.params, segments(train, segment))

    def softmax_alone(
        log_p: Array, cache: CacheState, hs: Array, targets: Array
    ) -> tuple[Array, CacheState]:
        del hs, targets
        return log_p[None], cache

    dynamic_pass = make_dynamic_pass(best.model, softmax_alone, 1, segment)
    grid = list(itertools.product(group.learning_rates, group.lambs, group.epsilons))
    points = []
    for number, values in enumerate(grid, 1):
        name = f"{number} of {len(grid)}"
        scored = dynamic_pass(best.params, scale, DynamicRates(*values), valid, name)
        points.append(Point(dict(zip(DYNAMIC_NAMES, values, strict=True)), float(scored.nlls[0])))
        settings = ", ".join(f"{n} {v:g}" for n, v in points[-1].settings.items())
        nll = describe_nll(points[-1].nll, corpus.level)
        leave_json(workdir, "tune_dynamic", ranking(points))
        output.say(f"{name} | {settings} | valid {nll} | {scored.seconds:.0f} s")
    _finish(workdir, "dynamic", points, corpus.level)


def ranked(points: list[Point]) -> list[Point]:
    """Returns the points, the best first."""
    return sorted(points, key=lambda point: math.inf if math.isnan(point.nll) else point.nll)


def ranking(points: list[Point]) -> dict[str, Any]:
    """Returns the points for a result file, the best first."""
    return {"points": [{**p.settings, **nll_result(p.nll)} for p in ranked(points)]}


def _finish(workdir: Path, group: str, points: list[Point], level: str) -> None:
    """Writes all points, and prints the best one as flags."""
    best = ranked(points)[0]
    flags = " ".join(f"--config.{group}.{name}={value}" for name, value in best.settings.items())
    leave_json(workdir, f"tune_{group}", ranking(points))
    output.say(f"best of {len(points)} | valid {describe_nll(best.nll, level)} | {flags}")
