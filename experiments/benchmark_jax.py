"""The worker of benchmark.py that runs awd_jax, with the same steps as its training loop."""

import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from awd_jax.core.blocks import in_blocks
from awd_jax.data import windows
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.recipe import flatten
from awd_jax.run.replicas import Replicas
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.language import evaluation_windows
from awd_jax.train.learner import Learner
from awd_jax.train.problem import make_model
from awd_jax.train.state import Purpose, make_key
from configs import ptb
from experiments.benchmark import serve
from experiments.benchmark_cases import EVALUATED_WINDOWS, PRODUCTS

TRAIN_TOKENS = 929_589  # of the Penn Treebank
TRAINED_WINDOWS = 8  # then they repeat


def make_config(settings: dict[str, Any]) -> tuple[ConfigDict, RecurrentLM]:
    """The config and model of a case."""
    config = ptb.get_config()
    config.update_from_flattened_dict({name: settings[name] for name in flatten(config)})
    return config, make_model(config.model, settings["vocab_size"])


def random_stream(config: ConfigDict, vocab_size: int, num_windows: int) -> np.ndarray:
    """Tokens, [rows, B]."""
    shape = (num_windows * config.train.bptt + 1, config.train.batch_size)
    return np.random.RandomState(0).randint(vocab_size, size=shape, dtype=np.int32)


class Train:
    """One training step after another, on windows of bptt tokens."""

    def __init__(self, settings: dict[str, Any], averaging: bool) -> None:
        config, model = make_config(settings)
        self._learner = Learner(config, model, Replicas(jax.local_devices()[:1]))
        state = self._learner.start_epoch(self._learner.init())
        if averaging:  # no progress, until the trigger switches averaging on
            for loss in [1.0] * (config.optimizer.nonmono + 1) + [2.0]:
                state = self._learner.observe(state, loss)
        self.state = self._learner.put(state)
        self._before = jnp.copy(self.state.step)
        stream = random_stream(config, model.vocab_size, TRAINED_WINDOWS)
        length = config.train.bptt
        padded_length = windows.padded_length(length, length)  # as most windows of an epoch
        self._plan = windows.even_plan(stream, length, padded_length)
        self._num_done = 0

    def run(self) -> None:
        """Starts a step, and waits for the one before it, as the training loop does."""
        position = self._num_done % TRAINED_WINDOWS
        self.state = self._learner.step(self.state, self._plan, position, epoch=1)
        self._before, _ = jnp.copy(self.state.step), self._before.block_until_ready()
        self._num_done += 1

    def finish(self) -> None:
        """Waits, and checks that losses and gradients were finite."""
        jax.block_until_ready(self.state)
        if self.state.first_bad_step >= 0:
            raise FloatingPointError(f"step {self.state.first_bad_step} is not finite")


class Evaluate:
    """A pass of evaluation over a few windows."""

    def __init__(self, settings: dict[str, Any]) -> None:
        config, model = make_config(settings)
        self._params = model.init_params(make_key(config.train.seed, Purpose.INIT))
        stream = random_stream(config, model.vocab_size, EVALUATED_WINDOWS)
        self._plan = evaluation_windows(config.train, stream)
        self._evaluate = make_evaluate(model, Replicas(jax.local_devices()[:1]))

    def run(self) -> None:
        """The whole pass."""
        self._evaluate(self._params, self._plan)

    def finish(self) -> None:
        """`run` has waited already."""


class Products:
    """The bare matrix products of one kind in one training step, forward and backward.

    They have the orientation and the blocks of the step's, see `core/fast.py` (without its padding
    of columns) and `core/softmax.py`. Those that the step may run side by side share a program.
    """

    def __init__(self, settings: dict[str, Any], kind: str) -> None:
        t, b = settings["train.bptt"], settings["train.batch_size"]
        n = t * b
        self.programs: list[Callable] = []
        for d, g in settings[kind]:
            match kind:
                case "input products":
                    self._add(gates_of_inputs, (n, d), (d, g))
                    self._add(gradients_of_inputs, (n, d), (d, g), (g, n))
                case "recurrent products":
                    self._add(one_by_one, (g, d), (t, d, b))
                    self._add(one_by_one, (d, g), (t, g, b))
                    self._add(gradient_of_recurrent, (n, d), (g, n))
                case "softmax products":
                    xs = jax.ShapeDtypeStruct((t, b, d), "f4")
                    num_blocks, rows, _ = jax.eval_shape(
                        partial(in_blocks, num_logits=g, table_size=g * d), (xs,)
                    )[0].shape
                    self._add(logits, (rows, d), (g, d))
                    self._add(gradients_of_softmax, (rows, d), (g, d), (rows, g))
                    self.programs *= num_blocks

    def _add(self, products: Callable, *shapes: tuple[int, ...]) -> None:
        arrays = [jax.random.normal(jax.random.key(0), shape) for shape in shapes]
        self.programs.append(partial(jax.jit(products), *arrays))

    def run(self) -> None:
        """All of them. It waits after each program, so memory holds the results of one."""
        for program in self.programs:
            jax.block_until_ready(program())

    def finish(self) -> None:
        """`run` has waited already."""


def gates_of_inputs(xs: Array, w: Array) -> Array:
    """The gates of all steps at once."""
    return jnp.einsum("dg,nd->gn", w, xs)


def gradients_of_inputs(xs: Array, w: Array, d_gates: Array) -> tuple[Array, Array]:
    """The gradients of the inputs and of the weights."""
    return jnp.einsum("gn,dg->nd", d_gates, w), jnp.einsum("nd,gn->dg", xs, d_gates)


def one_by_one(w: Array, columns: Array) -> Array:
    """One product after another, as in the recurrence."""
    return jax.lax.map(lambda c: w @ c, columns)


def gradient_of_recurrent(hs: Array, d_gates: Array) -> Array:
    """The gradient of the weights, over all steps at once."""
    return jnp.einsum("nh,gn->hg", hs, d_gates)


def logits(xs: Array, embedding: Array) -> Array:
    """The logits of one block of rows."""
    return xs @ embedding.T


def gradients_of_softmax(xs: Array, embedding: Array, d_logits: Array) -> tuple[Array, Array]:
    """The gradients of the features and of the embedding."""
    return d_logits @ embedding, jnp.einsum("nd,nv->dv", xs, d_logits).T


def facts() -> dict[str, Any]:
    """Versions, and the settings of the recipe."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "recipe": flatten(ptb.get_config()),
    }


def programs(settings: dict[str, Any]) -> dict[str, Any]:
    """How many window programs a run of the recipe has, and its padding per token."""
    config, _ = make_config(settings)
    num_rows = TRAIN_TOKENS // config.train.batch_size
    lengths = np.concatenate(
        [
            windows.epoch_windows(num_rows, config.train.bptt, config.train.seed, epoch).lengths
            for epoch in range(1, config.train.num_epochs + 1)
        ]
    )
    padded = np.array([windows.padded_length(n, config.train.bptt) for n in lengths.tolist()])
    counts = {"lengths": len(np.unique(lengths)), "programs": len(np.unique(padded))}
    return {"programs": counts | {"padding": float(padded.sum() / lengths.sum() - 1)}}


JOBS: dict[str, Callable] = {
    "train": partial(Train, averaging=False),
    "train, averaging": partial(Train, averaging=True),
    "evaluate": Evaluate,
    **{kind: partial(Products, kind=kind) for kind in PRODUCTS},
}

if __name__ == "__main__":
    serve({"facts": facts, "programs": programs}, JOBS)
