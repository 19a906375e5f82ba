"""What a run of training went through; its evaluations say what the test wants."""

from collections.abc import Sequence

import jax
import numpy as np
import optax
import pytest

from awd_jax.run.replicas import Replicas
from awd_jax.train import validation


class Course:
    """All that a run computed, on the host."""

    def __init__(self) -> None:
        self.iterates: list[optax.Params] = []  # parameters after each step
        self.evaluated: list[optax.Params] = []  # those of each evaluation

    def mean(self, start: int, stop: int) -> optax.Params:
        """Of the iterates after the steps start + 1 to stop, in float64."""
        iterates = self.iterates[start:stop]
        return jax.tree.map(lambda *arrays: np.mean(np.float64(arrays), axis=0), *iterates)


def record_course(monkeypatch: pytest.MonkeyPatch, losses: Sequence[float]) -> Course:
    """Of the run that comes; its evaluations, each in its turn, find these losses."""
    course, left = Course(), iter(losses)
    pmap = Replicas.pmap

    def recorded_pmap(self, function, *args):
        step = pmap(self, function, *args)

        def train_step(*args):
            state = step(*args)
            course.iterates.append(jax.device_get(state.params))
            return state

        return train_step if function.__name__ == "train_step" else step

    def make_evaluate(*args):
        def evaluate(params, stream):
            course.evaluated.append(jax.device_get(params))
            return next(left)

        return evaluate

    monkeypatch.setattr(Replicas, "pmap", recorded_pmap)
    monkeypatch.setattr(validation, "make_evaluate", make_evaluate)
    return course


def assert_close(actual: optax.Params, desired: optax.Params) -> None:
    """Up to the rounding of float32, of which a running mean adds some."""
    jax.tree.map(
        lambda a, d: np.testing.assert_allclose(a, d, rtol=1e-5, atol=1e-6), actual, desired
    )
