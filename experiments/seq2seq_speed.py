"""Times sequence to sequence beside PyTorch: a training step, and greedy decoding.

    python experiments/seq2seq_speed.py --torch-python=TORCH_ENV/bin/python

A table in Markdown. `dates` has the sizes of configs/dates_attention.py, `gnmt` those of a small
GNMT. A step is forward, backward, clipping and Adam, without dropout; decoding reads the sources
and writes T tokens for each. Both sides have the same parameters and texts without padding, and
must agree: in the losses and the norms of the gradients of the first three steps, and in the
log-probability of what they decode. Each program has a fresh process in each of the rounds, one
after the other, so that both see the same load; the ratios are those of processor time, which does
not grow where a core is shared.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least, program, some_of
from experiments.seq2seq_cases import CASES, MAX_GRAD_NORM, RATE, make_texts, measure
from experiments.transformer_speed import ask, check_equal

HEADER = """\
| model | what | program | ms | CPU ms | of jax | peak MiB |
|---|---|---|---|---|---|---|"""
Runs = tuple[Callable[[], float], Callable[[], tuple[float, float]]]


def make_runs(case: dict[str, Any], params_file: str) -> Runs:
    """Greedy decoding and a training step, as `measure` calls them; writes the parameters."""
    import jax
    import numpy as np

    from awd_jax.data.buckets import even_plan
    from awd_jax.data.pairs import Pairs, Ragged
    from awd_jax.interchange.params import flatten_params
    from awd_jax.run.replicas import Replicas
    from awd_jax.train.learner import Learner
    from awd_jax.train.problem import make_model
    from configs import dates_attention

    config = dates_attention.get_config()
    config.model.update(case["model"])
    config.train.batch_size = case["batch_size"]
    config.optimizer.update(learning_rate=RATE, max_grad_norm=MAX_GRAD_NORM)
    model = make_model(config.model, case["vocab_size"], source_vocab_size=case["vocab_size"])
    learner = Learner(config, model, Replicas(jax.devices()[:1]))
    state = learner.put(learner.start_epoch(learner.init()))
    params = jax.device_get(state.params)
    np.savez(params_file, **flatten_params(params))
    texts = make_texts(case)
    pairs = Pairs(Ragged.of(texts.sources.T), Ragged.of(texts.targets[:-1].T))  # without the end
    plan = even_plan(pairs, [(len(texts.sources), len(texts.targets))], case["batch_size"], 0)
    before = [0.0, 0.0]

    def step() -> tuple[float, float]:
        nonlocal state, before
        state = learner.step(state, plan, 0, epoch=1)
        sums = [float(state.totals.nll), float(state.totals.grad_norm)]
        nll, norm = (after - b for after, b in zip(sums, before, strict=True))
        before = sums
        return nll / texts.targets.size, norm

    return decoding(model, params, texts.sources, len(texts.targets)), step


def decoding(model: Any, params: Any, sources: Any, num_tokens: int) -> Callable[[], float]:
    """Our greedy decoding."""
    import jax
    import jax.numpy as jnp

    from awd_jax.core.decoding import choose_best, decode

    @jax.jit
    def run(params: Any, sources: Any) -> Any:
        def next_log_probs(carry: Any, tokens: Any) -> tuple[Any, Any]:
            log_probs, carry = model.log_probs(params, tokens[None], carry)
            return log_probs[0], carry

        carry = model.read(params, sources, jnp.ones(sources.shape))
        first, no_end = jnp.zeros_like(sources[0]), -1
        found = decode(next_log_probs, choose_best, carry, first, no_end, num_tokens)
        return jnp.mean(found.log_probs) / num_tokens

    params, sources = jax.device_put((params, sources))
    return lambda: float(run(params, sources))


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Raises ArithmeticError if the two sides have computed different things."""
    check_equal(ours["first"], theirs["first"])
    if not math.isclose(ours["decoded"], theirs["decoded"], rel_tol=1e-4):
        raise ArithmeticError(f"decoded: {ours['decoded']} is not {theirs['decoded']}")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=some_of(*CASES), default=list(CASES))
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--runs", type=at_least(1), default=10, help="in each round")
    parser.add_argument("--torch-python", type=program, help="a Python that has torch")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Prints the table."""
    options = parse_arguments(argv)
    if options.work:
        case, *rest, num_runs = options.work
        print(json.dumps(measure(*make_runs(CASES[case], *rest), int(num_runs))))
        return
    workers = {"jax": [sys.executable, __file__, "--work"]}
    if options.torch_python:
        workers["torch"] = [
            options.torch_python,
            str(Path(__file__).with_name("seq2seq_torch.py")),
        ]
    print(HEADER)
    for case in options.cases:
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        with tempfile.TemporaryDirectory() as folder:
            params = str(Path(folder) / "params.npz")
            for _ in range(options.rounds):
                for name, command in workers.items():
                    answers[name].append(ask([*command, case, params, str(options.runs)]))
        ours = answers["jax"]
        for what in ("step", "greedy decoding"):
            for name, rounds in answers.items():
                compare(ours[0], rounds[0])
                wall, cpu = map(statistics.median, zip(*(r[what] for r in rounds), strict=True))
                ratios = (r[what][1] / o[what][1] for r, o in zip(rounds, ours, strict=True))
                numbers = f"{wall:.0f} | {cpu:.0f} | {statistics.median(ratios):.2f}"
                mib = statistics.median(r["mib"] for r in rounds)
                print(f"| {case} | {what} | {name} | {numbers} | {mib:,.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
