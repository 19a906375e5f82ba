"""What many devices cost and gain: measured on this CPU, estimated for TPU and GPU.

    python -m experiments.scaling

Measures one training step on a CPU that is split into 1 to 8 devices, at a fixed total work. Reads
from the compiled program how many bytes a step all-reduces. Estimates the rest from these bytes and
from published numbers of chips and links. docs/scaling.md has the tables.
"""

import argparse
import functools
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from awd_jax.data import windows
from awd_jax.run.replicas import Replicas
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.problem import make_model
from awd_jax.train.state import TrainState, init_state
from awd_jax.train.step import TRAIN_AXES, Regularisers, make_train_step
from configs import default
from experiments.arguments import at_least

NUM_DEVICES = (1, 2, 4, 8)
NUM_STEPS = 15


class Size(NamedTuple):
    """A corpus and its model."""

    name: str
    vocab_size: int
    hidden_dim: int
    batch_size: int
    bptt: int


SIZES = (
    Size("PTB", 10_000, 1150, 20, 70),
    Size("WT2", 33_278, 1150, 80, 70),
    Size("WT103", 267_735, 1840, 60, 140),
)
SMALL = Size("small", 2_000, 256, 40, 70)


class Machine(NamedTuple):
    """Published peaks of one chip and its links, and two assumptions."""

    name: str
    num_devices: int
    flops: float  # per second, for float32 products at default precision: bfloat16, TF32
    memory: float  # bytes per second
    link: float  # bytes per second in and out of one chip
    hop: float  # seconds of one step in the ring or tree of an all-reduce: assumed
    loop: float  # seconds that one step of a scan takes at least: assumed
    keeps_w_h: bool  # on chip through the time loop, so that steps do not read it from memory


MACHINES = (
    # w_h: as in the programs for v5e that experiments/aot_compile.py compiles.
    Machine("v5e-8", 8, 197e12, 819e9, 200e9, 1e-6, 2e-6, keeps_w_h=True),
    Machine("v5e-256", 256, 197e12, 819e9, 200e9, 1e-6, 2e-6, keeps_w_h=True),
    Machine("8 H200", 8, 494e12, 4.8e12, 900e9, 5e-6, 10e-6, keeps_w_h=False),
)
EFFICIENCY = 0.5  # share of each peak that is reached: assumed


def make_step(size: Size, num_devices: int) -> tuple:
    """The step, a function that makes its first state, and a batch."""
    config = default.get_config()
    config.model.hidden_dim = size.hidden_dim
    if size is SMALL:
        config.model.embed_dim = 128
    model = make_model(config.model, size.vocab_size)
    optimizer = make_optimizer(config.optimizer)
    replicas = Replicas(jax.devices()[:num_devices])
    train_step = make_train_step(model, optimizer, Regularisers(2.0, 1.0), 0)
    step = replicas.pmap(train_step, *TRAIN_AXES)

    def make_state() -> TrainState:
        state = init_state(model, optimizer, 0, size.batch_size)
        return state._replace(carry=replicas.split_carry(state.carry))

    length = windows.bucket(size.bptt)
    stream = np.zeros((length + 1, size.batch_size), np.int32)
    batch = windows.even_plan(stream, length)[0]
    return step, make_state, replicas.split(batch, size.batch_size)


def measure(num_devices: int) -> float:
    """The median seconds of a step of the small model."""
    step, make_state, batch = make_step(SMALL, num_devices)
    state = make_state()
    seconds = []
    for _ in range(NUM_STEPS):
        started = time.perf_counter()
        state = step(state, batch, np.float32(0.1))
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[3:]))


def all_reduces(size: Size) -> tuple[int, int]:
    """How many all-reduces a compiled step has, and the bytes they sum up."""
    step, make_state, batch = make_step(size, 2)
    state: TrainState = jax.eval_shape(make_state)
    rate = jax.ShapeDtypeStruct((), np.float32)
    text = step.lower(state, batch, rate).compile().as_text()
    operands = re.findall(r"= (\S+|\(.*?\)) all-reduce(?:-start)?\(", text)
    shapes = [shape for operand in operands for shape in re.findall(r"f32\[([\d,]*)\]", operand)]
    num = sum(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes)
    return len(operands), 4 * num


class Estimate(NamedTuple):
    """The seconds of one step on a machine."""

    arithmetic: float
    exchange: float

    @property
    def total(self) -> float:
        """The one exchange comes after the backward pass, so no arithmetic hides it."""
        return self.arithmetic + self.exchange


def estimate(
    size: Size, machine: Machine, num_bytes: int, num_devices: int, batch: int
) -> Estimate:
    """A step of `batch` sequences on `num_devices` of a machine."""
    b = batch / num_devices
    dims = (400, size.hidden_dim, size.hidden_dim, 400)
    flops, memory = machine.flops * EFFICIENCY, machine.memory * EFFICIENCY
    # The products over all time steps at once: forward, and twice as much backward.
    parallel = 6 * size.bptt * b * (400 * size.vocab_size)
    seconds = 0.0
    for d, h in itertools.pairwise(dims):
        parallel += 6 * size.bptt * b * d * 4 * h + 2 * size.bptt * b * h * 4 * h
        # In the loop, once forward and once backward: a product with w_h.
        read = 0.0 if machine.keeps_w_h else 2 * h * 4 * h / memory
        step = max(2 * b * h * 4 * h / flops, read, machine.loop)
        seconds += 2 * size.bptt * step
    # Parameters, gradients and averages are read or written about six times.
    seconds += parallel / flops + 6 * num_bytes / memory
    if num_devices == 1:
        return Estimate(seconds, 0.0)
    ring = 2 * (num_devices - 1) / num_devices * num_bytes / (machine.link * EFFICIENCY)
    return Estimate(seconds, ring + 2 * np.log2(num_devices) * machine.hop)


def tables(measured: dict[int, float], reduced: dict[str, tuple[int, int]]) -> str:
    """All tables, in Markdown."""
    lines = ["| devices | ms per step | overhead |", "|---|---|---|"]
    for n, seconds in measured.items():
        lines.append(f"| {n} | {1000 * seconds:.0f} | {100 * (seconds / measured[1] - 1):+.0f} % |")
    lines += ["", "| model | all-reduces per step | MB |", "|---|---|---|"]
    lines += [f"| {name} | {n} | {b / 1e6:.1f} |" for name, (n, b) in reduced.items()]
    lines += [
        "",
        "| model | machine | batch | ms on 1 | ms on all | share of exchange | faster | half at |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for machine in MACHINES:
            n = machine.num_devices
            own = -(-size.batch_size // n) * n
            for batch in sorted({own, 8 * own if n == 8 else 4 * own}):
                step = functools.partial(estimate, size, machine, reduced[size.name][1])
                one, many = step(1, batch), step(n, batch)
                pays = [
                    k
                    for k in (2**i for i in range(9) if 2**i <= n)
                    if k * step(k, batch).total <= 2 * one.total
                ]
                lines.append(
                    f"| {size.name} | {machine.name} | {batch} | {1000 * one.total:.1f} | "
                    f"{1000 * many.total:.1f} | {100 * many.exchange / many.total:.0f} % | "
                    f"{one.total / many.total:.1f} x | {max(pays)} |"
                )
    return "\n".join(lines)


def in_own_process(num_devices: int, *arguments: str) -> str:
    """Runs this script in a process of its own, since the number of devices is fixed in one."""
    result = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
            "PJRT_NPROC": str(2 * max(NUM_DEVICES)),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()[-1]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options; without any, it measures and estimates everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=at_least(1), help="the step, on this many devices")
    parser.add_argument("--size", choices=[size.name for size in SIZES], help="count all-reduces")
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """The command."""
    needed = options.measure or (2 if options.size else 1)
    if jax.device_count() < needed:
        flag = f"--xla_force_host_platform_device_count={needed}"
        sys.exit(f"needs {needed} devices: set XLA_FLAGS={flag} to split a CPU")
    if options.measure:
        print(measure(options.measure))
    elif options.size:
        print(json.dumps(all_reduces(next(s for s in SIZES if s.name == options.size))))
    else:
        measured = {n: float(in_own_process(n, f"--measure={n}")) for n in NUM_DEVICES}
        reduced = {s.name: json.loads(in_own_process(2, f"--size={s.name}")) for s in SIZES}
        print(tables(measured, reduced))


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
