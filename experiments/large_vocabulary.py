"""Times the loss and its gradients at V = 267,735, the vocabulary of WikiText-103.

    python experiments/large_vocabulary.py --torch-python=TORCH_ENV/bin/python

Heads: tied, adaptive, and PyTorch's `nn.AdaptiveLogSoftmaxWithLoss` (not tied, with the same
clusters). Features [T * B, 400] and targets that follow Zipf's law. In each round every head has a
fresh process, one after the other; a process compiles, then times some steps. `first step` is the
first training step of a whole model, compilation included: `ptb.py` as it is, and with an adaptive
softmax over this vocabulary.
"""

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import numpy as np

from experiments.arguments import at_least, program
from experiments.memory import peak_mib

V, D, CUTOFFS = 267_735, 400, (2_800, 20_000, 76_000)


def zipf_ids(vocab_size: int, num_steps: int, batch_size: int) -> np.ndarray:
    """Ids [T, B] by falling frequency, 1 / (id + 10)."""
    p = 1 / (np.arange(vocab_size) + 10)
    shape = (num_steps, batch_size)
    return np.random.RandomState(0).choice(vocab_size, shape, p=p / p.sum()).astype(np.int32)


def our_step(softmax: str, targets: np.ndarray) -> Callable[[], Any]:
    """The loss of a head and all its gradients."""
    import jax
    import jax.numpy as jnp

    from awd_jax.core.adaptive import adaptive
    from awd_jax.core.softmax import tied

    head = adaptive(CUTOFFS) if softmax == "adaptive" else tied()
    keys = jax.random.split(jax.random.key(0), 3)
    own, table = head.init(keys[0], V, D, D), head.init_table(keys[1], V, D)
    hs = jax.random.normal(keys[2], (*targets.shape, D)) / 4
    window = jnp.asarray(targets), jnp.ones(targets.shape)
    grad = jax.jit(jax.value_and_grad(head.sum_nll, argnums=(0, 1, 2), has_aux=True))
    return lambda: jax.block_until_ready(grad(own, table, hs, *window))


def torch_step(targets: np.ndarray) -> Callable[[], Any]:
    """The same of torch's module."""
    import torch

    torch.manual_seed(0)
    head = torch.nn.AdaptiveLogSoftmaxWithLoss(D, V, list(CUTOFFS), div_value=1.0, head_bias=True)
    hs = (torch.randn(targets.size, D) / 4).requires_grad_()
    ids = torch.from_numpy(targets.reshape(-1).astype(np.int64))

    def step() -> None:
        head.zero_grad()
        hs.grad = None
        head(hs, ids).loss.backward()

    return step


def before_first_step(config: Any, vocab_size: int) -> tuple[Any, Any, Any]:
    """A learner of the config's model, its state, and a plan of one window."""
    import jax

    from awd_jax.data import windows
    from awd_jax.run.replicas import Replicas
    from awd_jax.train.learner import Learner
    from awd_jax.train.problem import make_model

    learner = Learner(config, make_model(config.model, vocab_size), Replicas(jax.devices()[:1]))
    state = learner.put(learner.start_epoch(learner.init()))
    bptt = config.train.bptt
    stream = zipf_ids(vocab_size, bptt + 1, config.train.batch_size)
    return learner, state, windows.even_plan(stream, bptt, windows.padded_length(bptt, bptt))


def first_step(vocab_size: int, softmax: str) -> float:
    """Seconds of the first step of the sizes of ptb.py."""
    import jax

    from configs import ptb

    config = ptb.get_config()
    config.model.softmax = softmax
    config.model.cutoffs = CUTOFFS if softmax == "adaptive" else ()
    learner, state, plan = before_first_step(config, vocab_size)
    started = time.perf_counter()
    jax.block_until_ready(learner.step(state, plan, 0, epoch=1))
    return time.perf_counter() - started


def work(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """What one process measures."""
    if kind.startswith("first step"):
        *_, vocab_size, softmax = kind.split()
        return {"seconds": first_step(int(vocab_size), softmax)}
    targets = zipf_ids(V, options.tokens // options.batch, options.batch)
    step = torch_step(targets) if kind == "torch" else our_step(kind, targets)
    step()
    seconds = []
    for _ in range(options.steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds), "peak_mib": peak_mib()}


def num_programs(bptt: int, num_rows: int, epochs: int) -> int:
    """How many window programs a run has."""
    from awd_jax.data import windows

    lengths = {
        length
        for epoch in range(1, epochs + 1)
        for length in windows.epoch_windows(num_rows, bptt, 0, epoch).lengths.tolist()
    }
    return len({windows.padded_length(length, bptt) for length in lengths})


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--steps", type=at_least(1), default=3)
    parser.add_argument("--tokens", type=at_least(1), default=1400, help="T * B")
    parser.add_argument("--batch", type=at_least(1), default=20)
    parser.add_argument("--torch-python", type=program, help="a Python that has torch")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Prints one line of each kind: the median over the rounds."""
    options = parse_arguments(argv)
    if options.work:
        print(json.dumps(work(options.work, options)))
        return
    firsts = ["first step 10000 tied", f"first step {V} adaptive"]
    kinds = ["tied", "adaptive", *(["torch"] if options.torch_python else []), *firsts]
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind in kinds:
            python = options.torch_python if kind == "torch" else sys.executable
            command = [python, __file__, *argv, f"--work={kind}"]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[kind].append(json.loads(answer.splitlines()[-1]))
    print(f"jax {importlib.metadata.version('jax')}, {options.tokens:,} tokens, V {V:,}, D {D}")
    for kind, answers in results.items():
        medians = {n: statistics.median(a[n] for a in answers) for n in answers[0]}
        memory = f" | peak {medians['peak_mib']:,.0f} MiB" if "peak_mib" in medians else ""
        print(f"{kind:28} | {medians['seconds']:.3f} s{memory}")
    for name, bptt, num_rows, epochs in (("ptb", 70, 46_479, 500), ("wt103", 140, 1_720_450, 14)):
        print(f"programs of all windows of {name}: {num_programs(bptt, num_rows, epochs)}")


if __name__ == "__main__":
    main(sys.argv[1:])
