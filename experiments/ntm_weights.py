"""Draws where a neural Turing machine reads and writes, and counts its wrong bits by length.

    python experiments/ntm_weights.py OUT.png WORKDIR

The workdir is that of a run of an exercise of bits, such as configs/ntm_copy.py. Prints, for each
of --lengths, the wrong bits of a sequence over --sequences of them, as the test of a run with
data.test_length does. The picture shows one sequence of --length: its inputs, the probabilities of
the bits that it answers with, and the weights of each head on the rows of the memory, step by step.
Of a run with another cell, it shows none.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import jax
import numpy as np
from flax.serialization import from_state_dict
from ml_collections import ConfigDict

from awd_jax.data.bits import BitPlan, even_plan
from awd_jax.errors import InputError
from awd_jax.models.contract import Model
from awd_jax.recipe import check
from awd_jax.run.replicas import Replicas, local_devices
from awd_jax.tasks.model_file import BestModel, load_best_model
from awd_jax.train.bits import make_measure
from configs import ntm_copy
from experiments.arguments import at_least, counts
from experiments.pictures import pyplot


def read_config(workdir: Path) -> ConfigDict:
    """The config of a run of an exercise of bits."""
    config = ntm_copy.get_config()
    fields = json.loads((workdir / "config.json").read_text())
    own = ("data.", "model.", "train.", "optimizer.")
    with config.ignore_type():
        config.update_from_flattened_dict({n: v for n, v in fields.items() if n.startswith(own)})
    config.train.measures = tuple(config.train.measures)
    config.optimizer.decay_epochs = tuple(config.optimizer.decay_epochs)
    check(config)
    return config


def make_plan(config: ConfigDict, length: int, num_sequences: int) -> BitPlan:
    """One batch of sequences of this length."""
    lengths = range(length, length + 1)
    return even_plan(config.data.corpus, lengths, config.data.max_repeats, (1, num_sequences), 2)


def head_weights(best: BestModel, inputs: np.ndarray) -> np.ndarray:
    """The weights of each head after each step, [A, N, T], of one sequence [T, 1, D]."""
    (cell, *_), ((d, h), *_) = best.model.cells, best.model.layer_dims
    shapes = jax.eval_shape(lambda key: cell.init(key, d, h), jax.random.key(0))
    params = from_state_dict(shapes, best.params["ntm_0"])
    step = jax.jit(lambda state, x: cell.unroll(params, state, x[None], 1)[1])
    state, weights = cell.initial_state(1, d, h), []
    for x in inputs:
        state = step(state, x)
        weights.append(np.asarray(state.weights[0]))
    return np.stack(weights, axis=-1)


def draw(best: BestModel, plan: BitPlan, out: Path) -> None:
    """Writes the picture of a plan of one sequence."""
    batch = plan[0]
    num_steps = int(np.flatnonzero(batch.weights[:, 0])[-1]) + 1
    inputs = batch.inputs[:num_steps]
    _, logits = jax.jit(best.model.run)(best.params, inputs)
    answers = np.asarray(jax.nn.sigmoid(logits[:, 0])).T * batch.weights[:num_steps, 0]
    weights = head_weights(best, inputs)
    parts: list[tuple[str, Any]] = [("inputs", inputs[:, 0].T), ("answers", answers)]
    half = len(weights) // 2
    for kind, heads in (("write", weights[half:]), ("read", weights[:half])):
        parts += [(f"{kind} weights", head) for head in heads]
    heights = [1 + 0.03 * len(rows) for _, rows in parts]
    size = (3 + num_steps / 8, sum(heights))
    figure, axes = pyplot().subplots(
        len(parts), sharex=True, figsize=size, height_ratios=heights, layout="constrained"
    )
    for axis, (name, rows) in zip(axes, parts, strict=True):
        axis.imshow(rows, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.set_ylabel(name)
    axes[-1].set_xlabel("step")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("workdir", type=Path, metavar="WORKDIR")
    parser.add_argument("--lengths", type=counts, default=[10, 20, 40, 80])
    parser.add_argument("--sequences", type=at_least(1), default=640)
    parser.add_argument("--length", type=at_least(1), default=20)
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """Counts, then draws."""
    try:
        config = read_config(options.workdir)
        best = load_best_model(config, options.workdir, Model)
    except (OSError, InputError) as error:
        sys.exit(str(error))
    measure = make_measure(best.model, Replicas(local_devices()[:1]), lambda: None)
    print(f"best model of step {best.step:,}")
    for length in options.lengths:
        found = measure(best.params, make_plan(config, length, options.sequences))
        print(f"length {length}: {found['wrong_bits']:.4g} wrong bits a sequence", flush=True)
    if config.model.cell == "ntm":
        draw(best, make_plan(config, options.length, 1), options.out)


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
