"""Fifty steps with dropout, the last half averaged, on any number of devices.

    python -m tests.train.fifty_steps NUM_DEVICES FILE

For more devices than the tests have: in a process of its own.
"""

import sys

import jax
import numpy as np

from awd_jax.batches import Window
from awd_jax.core.ntasgd import observe
from awd_jax.data.windows import WindowPlan, Windows, batchify
from awd_jax.run.replicas import Replicas
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.problem import make_model
from awd_jax.train.state import init_state
from awd_jax.train.step import TRAIN_AXES, Regularisers, make_train_step
from configs import default

B, V, BPTT, SEED = 8, 31, 16, 3
STREAM = batchify(np.random.RandomState(0).randint(0, V, 6000).astype(np.int32), B)
REGULARISERS = Regularisers(2.0, 1.0)
NUM_STEPS = 50
RATE = 3.0  # of a recipe it is 30, at which steps amplify what sums have rounded


def make_parts():
    config = default.get_config("smoke")
    config.model.num_layers = 2
    config.optimizer.nonmono = 0
    model = make_model(config.model, V)
    optimizer = make_optimizer(config.optimizer)
    return model, optimizer, make_train_step(model, optimizer, REGULARISERS, SEED)


def window(start: int, length: int, padded_length: int = 16) -> Window:
    windows = Windows(np.array([start]), np.array([length]))
    return WindowPlan(STREAM, B, windows, np.array([padded_length]), BPTT)[0]


def make_replicas(num_devices: int) -> Replicas:
    return Replicas(jax.devices()[:num_devices])


def first_state(parts, replicas: Replicas):
    """Before the first step, split over the replicas."""
    model, optimizer, _ = parts
    state = init_state(model, optimizer, SEED, B)
    return state._replace(carry=replicas.split_carry(state.carry))


def train(parts, num_devices: int, num_steps: int = NUM_STEPS, lengths=(13, 16, 9)):
    """The state after the last step, and the totals of NLL after each."""
    replicas = make_replicas(num_devices)
    step = replicas.pmap(parts[-1], *TRAIN_AXES)
    state = first_state(parts, replicas)
    start, nlls = 0, []
    for i in range(num_steps):
        length = lengths[i % len(lengths)]
        batch = replicas.split(window(start, length), B)
        state = step(state, batch, np.float32(RATE * length / BPTT))
        nlls.append(float(state.totals.nll))
        if i == num_steps // 2:
            state = state._replace(opt_state=observe(observe(state.opt_state, 1.0), 2.0))
        start += length
    return state._replace(carry=replicas.merge_carry(state.carry)), np.asarray(nlls)


def leaves(state) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


if __name__ == "__main__":
    state, nlls = train(make_parts(), int(sys.argv[1]))
    np.savez(sys.argv[2], *leaves(state), nlls)
