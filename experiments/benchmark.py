"""Times awd_jax and PyTorch side by side on the CPU, at the sizes of the PTB recipe.

    python experiments/benchmark.py
    python experiments/benchmark.py --torch-python=TORCH_ENV/bin/python --parts=step --batch=20

PyTorch may be installed in another environment; without it, awd_jax is timed alone. Each case
starts a fresh process of each (`benchmark_jax.py`, `benchmark_torch.py`) and lets them work in
turn, for `--seconds` per round, so that they all see the same load. PyTorch runs twice: with its
defaults, and `tuned`, with a memory allocator that gives nothing back to the system.

Parts: `step`, the whole training step beside its bare matrix products; `evaluation`; `scale`, the
step with one size varied at a time; `start`, everything before the second step. Writes
benchmark.json into --out, and its tables with benchmark_report.py.
"""

import argparse
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least, counts, program, some_of
from experiments.benchmark_cases import (
    ALLOCATORS,
    EVALUATED_WINDOWS,
    PRODUCTS,
    SCALE,
    SIZES,
    axis,
    make_settings,
)

ROOT = Path(__file__).parents[1]
PARTS = ("step", "evaluation", "scale", "start")


def run_for(job: Any, seconds: float) -> float:
    """Runs a job at least once and for at least `seconds`; returns the mean seconds of a run."""
    num_runs = 0
    started = time.perf_counter()
    while num_runs == 0 or time.perf_counter() - started < seconds:
        job.run()
        num_runs += 1
    job.finish()
    return (time.perf_counter() - started) / num_runs


def serve(actions: dict[str, Callable], jobs: dict[str, Callable]) -> None:
    """The loop of a worker: answers requests, one line of JSON each, until standard input ends.

    Args:
      actions: functions by name; a request names one and gives its arguments.
      jobs: factories by name; each makes, from settings, a job to time. Its `run()` may return
        before the device is done, `finish()` waits for the device.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries must not print between the answers
    made = {}

    def make(kind: str, settings: dict[str, Any]) -> dict[str, float]:
        started = time.perf_counter()
        made[kind] = jobs[kind](settings)
        seconds = {"make_seconds": time.perf_counter() - started}
        seconds["first_seconds"], _ = run_for(made[kind], 0), run_for(made[kind], 0)
        return seconds

    def timed(kind: str, seconds: float) -> float:
        run_for(made[kind], 0)  # after the others' turn caches and memory are cold
        return run_for(made[kind], seconds)

    actions = actions | {
        "make": make,
        "time": timed,
        "memory": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for action, *details in map(json.loads, sys.stdin):
        print(json.dumps(actions[action](*details)), file=answers, flush=True)


class Worker:
    """A process that runs `serve`."""

    def __init__(self, name: str, python: str, **environment: str) -> None:
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [python, "-m", f"experiments.benchmark_{name.split()[0]}"],
            cwd=ROOT,
            # Else OpenMP's threads would spin while another process works.
            env={"OMP_WAIT_POLICY": "PASSIVE", "JAX_PLATFORMS": "cpu"}
            | os.environ
            | {"GLIBC_TUNABLES": ALLOCATORS[name]}
            | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self.ask("facts")
        self.start_seconds = time.perf_counter() - started

    def ask(self, *request: Any) -> Any:
        """The answer to one request.

        Raises:
          RuntimeError: the process ended without an answer.
        """
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self.close()
            raise RuntimeError(f"{self._process.args[-1]}: exit code {self._process.returncode}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def measure(
    pythons: dict[str, str], options: argparse.Namespace, settings: dict, kinds: tuple[str, ...]
) -> dict[str, Any]:
    """Times jobs in rounds, in fresh processes; the memory is the peak after the first job."""
    with contextlib.ExitStack() as stack:
        try:
            workers, results = {}, {}
            for name, python in pythons.items():
                workers[name] = Worker(name, python)
                stack.callback(workers[name].close)
                results[name] = workers[name].ask("make", kinds[0], settings)
                results[name]["memory_mib"] = workers[name].ask("memory")
                for kind in kinds[1:]:
                    workers[name].ask("make", kind, settings)
            for index in range(options.rounds):
                for kind in kinds:
                    for name in sorted(workers, reverse=index % 2 == 1):
                        seconds = workers[name].ask("time", kind, options.seconds)
                        results[name].setdefault(kind, []).append(seconds)
        except RuntimeError as error:  # such as too large for this machine's memory
            return {"failed": str(error)}
    return results


def starts(pythons: dict[str, str], settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Times fresh processes until the end of their first training step."""
    with tempfile.TemporaryDirectory() as directory:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": directory,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        for name, title, environment in (
            ("jax", "no cache", {"JAX_ENABLE_COMPILATION_CACHE": "false"}),
            ("jax", "empty cache", cache),
            ("jax", "full cache", cache),
            ("torch", "", {}),
        ):
            if name in pythons:
                worker = Worker(name, pythons[name], **environment)
                case = {"case": f"{name} {title}", "start_seconds": worker.start_seconds}
                case |= worker.ask("make", "train", settings)
                case |= worker.ask("programs", settings) if name == "jax" else {}
                worker.close()
                yield case


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/benchmark"), help="a directory")
    add("--parts", type=some_of(*PARTS), default=",".join(PARTS))
    add("--torch-python", type=program, default=sys.executable, help="an interpreter with torch")
    add("--rounds", type=at_least(1), default=7)
    add("--seconds", type=float, default=2.0, help="of each job in each round, at least")
    add("--batch", type=counts, default="20,80", help="scale and start use the first")
    add("--eval-batch", type=counts, default="10,1")
    for name, default in {"time": 70, "vocab": 10_000, "embed": 400, "hidden": 1150}.items():
        add(f"--{name}", type=at_least(1), default=default)
    scale = list(map(axis, SCALE.split()))
    add("--scale", type=axis, nargs="+", default=scale, metavar="SIZE=VALUES", help=SCALE)
    return parser.parse_args(argv)


def cases(
    options: argparse.Namespace, pythons: dict[str, str], recipe: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Measures everything that the options ask for."""
    base = {name: getattr(options, name) for name in SIZES} | {"batch": options.batch[0]}

    def measured(part: str, sizes: dict[str, int], *kinds: str) -> dict[str, Any]:
        settings = make_settings(recipe, base | sizes)
        return {"part": part, **base, **sizes, **measure(pythons, options, settings, kinds)}

    if "step" in options.parts:
        for batch in options.batch:
            yield measured("step", {"batch": batch}, "train", *PRODUCTS)
            yield measured("step", {"batch": batch}, "train, averaging")
    if "evaluation" in options.parts:
        for batch in options.eval_batch:
            tokens = EVALUATED_WINDOWS * options.time * batch
            yield measured("evaluation", {"batch": batch}, "evaluate") | {"tokens": tokens}
    if "scale" in options.parts:
        varied = itertools.chain(*options.scale)
        for sizes in {str(base | sizes): sizes for sizes in varied}.values():  # each once
            yield measured("scale", sizes, "train")
    if "start" in options.parts:
        for _ in range(options.rounds):
            for case in starts(pythons, make_settings(recipe, base)):
                yield {"part": "start", **case}


def main(options: argparse.Namespace) -> None:
    """The command."""
    pythons = {"jax": sys.executable}
    if subprocess.run([options.torch_python, "-c", "import torch"], capture_output=True).returncode:
        print(f"{options.torch_python} has no torch: awd_jax alone")
    else:
        pythons |= dict.fromkeys(("torch", "torch tuned"), options.torch_python)
    facts = {"cores": os.cpu_count(), "load before": round(os.getloadavg()[0], 1)}
    for name, python in pythons.items():
        worker = Worker(name, python)
        facts |= worker.facts
        worker.close()
    recipe = facts.pop("recipe")
    options.out.mkdir(parents=True, exist_ok=True)
    done, file = [], options.out / "benchmark.json"
    for case in cases(options, pythons, recipe):
        done.append(case)
        file.write_text(json.dumps({"facts": facts, "recipe": recipe, "cases": done}, indent=1))
        print(json.dumps(case), flush=True)
    subprocess.run(
        [sys.executable, Path(__file__).with_name("benchmark_report.py"), file], check=True
    )


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
