"""Times Transformers: a training step beside PyTorch's, and the parts of attention.

    python experiments/transformer_speed.py --torch-python=TORCH_ENV/bin/python

Tables in Markdown. `step`: forward, backward, clipping and Adam, without dropout, of the same model
with the same parameters in jax, in PyTorch and under `torch.compile`; the losses and the norms of
the gradients must agree in the first three steps. `blocks`: attention of one layer with relative
positions, for several `BLOCK_SCORES`. `kernel`: `jax.nn.dot_product_attention` beside the same
attention written as products. Each number has a fresh process in each of the rounds, one after the
other, so that all see the same load. The MiB of the last two are the temporary ones of a compiled
program.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least, program, some_of
from experiments.large_vocabulary import before_first_step
from experiments.transformer_cases import CASES, MAX_GRAD_NORM, RATE, VOCAB_SIZE, measure, median_ms

# T, M, B, N, H
SHAPES = {
    "ptb_small": (70, 70, 20, 4, 32),
    "wide": (150, 150, 8, 10, 41),
    "evaluation": (128, 1600, 10, 16, 64),
    "training, M = 384": (384, 384, 10, 16, 64),
    "training, M = 1600": (384, 1600, 10, 16, 64),
}
NO_BLOCKS = 62
EXPONENTS = {  # of BLOCK_SCORES
    "ptb_small": (16, 18, NO_BLOCKS),
    "wide": (18, 20, NO_BLOCKS),
    "evaluation": (20, 22, 23, 24, NO_BLOCKS),
    "training, M = 384": (20, 22, 23, 24, NO_BLOCKS),
    "training, M = 1600": (22, 24, 26, NO_BLOCKS),
}
KERNELS = ("jax.nn", "products", "products, heads first")
KINDS = ("jax", "eager", "compiled")


def train(case: str, params_file: str, num_steps: str) -> dict[str, Any]:
    """What `measure` finds of our training step."""
    return measure(training(CASES[case], params_file), int(num_steps))


def training(sizes: dict[str, Any], params_file: str) -> Callable[[], tuple[float, float]]:
    """Our training step; writes the initial parameters to a file."""
    import numpy as np
    from flax.traverse_util import flatten_dict

    from configs import ptb_small_transformer_xl

    config = ptb_small_transformer_xl.get_config()
    for name in config.model:
        if name.endswith("_rate"):
            config.model[name] = 0.0
    for name, size in sizes.items():
        (config.model if name in config.model else config.train)[name] = size
    config.train.update(activation_reg=0.0, temporal_activation_reg=0.0)
    config.optimizer.update(schedule="constant", warmup_steps=0, averaging=False, weight_decay=0.0)
    config.optimizer.update(learning_rate=RATE, max_grad_norm=MAX_GRAD_NORM)
    learner, state, plan = before_first_step(config, VOCAB_SIZE)
    np.savez(params_file, **flatten_dict(state.params, sep="."))
    before = [0.0, 0.0]

    def step() -> tuple[float, float]:
        nonlocal state, before
        state = learner.step(state, plan, 0, epoch=1)
        sums = [float(state.totals.nll), float(state.totals.grad_norm)]
        nll, norm = (after - b for after, b in zip(sums, before, strict=True))
        before = sums
        return nll / (sizes["bptt"] * sizes["batch_size"]), norm

    return step


def step_table(options: argparse.Namespace) -> None:
    """Prints the table of training steps."""
    print("| model | program | ms a step | of jax | peak MiB |\n|---|---|---|---|---|")
    kinds = KINDS if options.torch_python else KINDS[:1]
    for case in options.cases:
        answers: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        with tempfile.TemporaryDirectory() as folder:
            params = str(Path(folder) / "params.npz")
            for _ in range(options.rounds):
                for kind in kinds:
                    rest = [case, params, str(options.steps)]
                    if kind == "jax":
                        command = [sys.executable, __file__, "--work", "step", *rest]
                    else:
                        worker = Path(__file__).with_name("transformer_torch.py")
                        command = [options.torch_python, str(worker), kind, *rest]
                    answers[kind].append(ask(command))
        ours = answers["jax"]
        for kind, rounds in answers.items():
            check_equal(ours[0]["first"], rounds[0]["first"])
            ms, mib = (statistics.median(r[name] for r in rounds) for name in ("ms", "mib"))
            ratio = statistics.median(r["ms"] / o["ms"] for r, o in zip(rounds, ours, strict=True))
            print(f"| {case} | {kind} | {ms:.0f} | {ratio:.2f} | {mib:,.0f} |", flush=True)


def check_equal(ours: list[list[float]], theirs: list[list[float]]) -> None:
    """Raises ArithmeticError if losses or norms of gradients differ."""
    for step, ((loss, norm), (other_loss, other_norm)) in enumerate(zip(ours, theirs, strict=True)):
        # PyTorch sums a million squares one after the other: the norm is off by 3e-4.
        is_equal = math.isclose(loss, other_loss, rel_tol=1e-4)
        if not (is_equal and math.isclose(norm, other_norm, rel_tol=1e-3)):
            raise ArithmeticError(
                f"step {step}: loss {loss} and norm {norm} are not {other_loss} and {other_norm}"
            )


def random_heads(shape: str) -> tuple[Any, Any, Any, Any, Any]:
    """Queries, keys, values, what is visible, and relative positions."""
    import jax
    import jax.numpy as jnp

    from awd_jax.core import attention

    t, m, b, n, h = SHAPES[shape]
    draw = lambda i, *sizes: jax.random.normal(jax.random.key(i), (*sizes, n, h))  # noqa: E731
    positions = attention.Positions(draw(0, m + t), draw(1), draw(2))
    seen = attention.visible(jnp.full(b, m), t, m)
    return draw(3, t, b), draw(4, m + t, b), draw(5, m + t, b), seen, positions


def cost(attend: Callable[..., Any], arguments: tuple, learned: Any, num_runs: int) -> list[float]:
    """Milliseconds and temporary MiB of attention; of it and its gradients."""
    import jax

    def scalar(*arguments: Any) -> Any:
        return (attend(*arguments) ** 2).sum()

    numbers = []
    for function in (attend, jax.value_and_grad(scalar, argnums=learned)):
        compiled = jax.jit(function).lower(*arguments).compile()
        run = lambda c=compiled: jax.block_until_ready(c(*arguments))  # noqa: E731
        run()
        temporary = compiled.memory_analysis().temp_size_in_bytes / 2**20
        numbers += [median_ms(run, num_runs), temporary]
    return numbers


def blocks(shape: str, exponent: str, num_runs: str) -> list[float]:
    """The cost of attention in blocks of 2**exponent scores."""
    from awd_jax.core import attention

    attention.BLOCK_SCORES = 2 ** int(exponent)
    return cost(attention.attend, random_heads(shape), (0, 1, 2, 4), int(num_runs))


def kernel(shape: str, name: str, num_runs: str) -> list[float]:
    """The cost of attention without relative positions and blocks, by one of `KERNELS`."""
    import jax
    import jax.numpy as jnp

    def by_jax(queries: Any, keys: Any, values: Any, seen: Any) -> Any:
        sequences = (heads.swapaxes(0, 1) for heads in (queries, keys, values))
        return jax.nn.dot_product_attention(*sequences, mask=seen[:, None]).swapaxes(0, 1)

    def by_products(queries: Any, keys: Any, values: Any, seen: Any) -> Any:
        scores = jnp.einsum("tbnh,kbnh->bntk", queries * queries.shape[-1] ** -0.5, keys)
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf))
        return jnp.einsum("bntk,kbnh->tbnh", weights, values)

    def heads_first(queries: Any, keys: Any, values: Any, seen: Any) -> Any:
        q, k, v = (heads.transpose(1, 2, 0, 3) for heads in (queries, keys, values))
        scores = jnp.einsum("bnth,bnkh->bntk", q * q.shape[-1] ** -0.5, k)
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf))
        return jnp.einsum("bntk,bnkh->bnth", weights, v).transpose(2, 0, 1, 3)

    attend = dict(zip(KERNELS, (by_jax, by_products, heads_first), strict=True))[name]
    return cost(attend, random_heads(shape)[:4], (0, 1, 2), int(num_runs))


def ask(command: list[str]) -> Any:
    """What a worker prints last."""
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def cost_table(options: argparse.Namespace, part: str, title: str, rows: dict[str, tuple]) -> None:
    """Prints a table of `cost`, one row for each variant of a shape."""
    print(f"\n| shape | {title} | forward ms | MiB | with backward ms | MiB |")
    print("|---|---|---|---|---|---|")
    for shape, variants in rows.items():
        answers: dict[Any, list[list[float]]] = {variant: [] for variant in variants}
        for _ in range(options.rounds):
            for variant in variants:
                rest = [part, shape, str(variant), str(options.steps)]
                answers[variant].append(ask([sys.executable, __file__, "--work", *rest]))
        for variant, rounds in answers.items():
            numbers = [statistics.median(values) for values in zip(*rounds, strict=True)]
            cells = " | ".join(f"{number:,.1f}" for number in numbers)
            name = "none" if variant == NO_BLOCKS else variant
            print(f"| {shape} | {name} | {cells} |", flush=True)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("step", "blocks", "kernel")
    parser.add_argument("--parts", type=some_of(*parts), default=list(parts))
    parser.add_argument("--cases", type=some_of(*CASES), default=list(CASES))
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--steps", type=at_least(1), default=5)
    parser.add_argument("--torch-python", type=program, help="a Python that has torch")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Prints the tables."""
    options = parse_arguments(argv)
    if options.work:
        part, *work = options.work
        print(json.dumps({"step": train, "blocks": blocks, "kernel": kernel}[part](*work)))
        return
    if "step" in options.parts:
        step_table(options)
    if "blocks" in options.parts:
        cost_table(options, "blocks", "log2 BLOCK_SCORES", EXPONENTS)
    if "kernel" in options.parts:
        shapes = list(SHAPES)[:-1]  # the last is as the one before it, and slow
        cost_table(options, "kernel", "attention", dict.fromkeys(shapes, KERNELS))


if __name__ == "__main__":
    main(sys.argv[1:])
