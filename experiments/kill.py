"""Kills a run many times, and compares its final state with that of an undisturbed run.

    python experiments/kill.py --kills=20

The second run is ended by `kill -9` and started again: of four kills, one comes during a save, one
during start-up or restoring, and two at a random moment of training. After the last kill it may run
to its end. Everything that it computed must equal, bit for bit, what the first run computed.
"""

import argparse
import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least

ROOT = Path(__file__).parents[1]
# Short epochs, and a rate so high that averaging begins in the middle of the run.
RECIPE = (
    f"--config={ROOT}/configs/quickstart.py",
    "--config.data.max_tokens=30000",
    "--config.train.num_epochs=16",
    "--config.train.log_steps=3",
    "--config.train.num_samples=0",
    "--config.train.checkpoint_steps=2",
    "--config.optimizer.nonmono=1",
    "--config.optimizer.learning_rate=40",
)


class Kill(NamedTuple):
    """When a run was killed."""

    seconds: float  # after its start
    in_save: bool  # whether there was an unfinished checkpoint
    latest: int  # the latest whole checkpoint


def start(workdir: Path, arguments: tuple[str, ...], cache: Path) -> subprocess.Popen:
    """Starts a run; its output goes to WORKDIR.log."""
    with workdir.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "awd_jax.main", *arguments, f"--workdir={workdir}"],
            cwd=ROOT,
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
            stdout=log,
            stderr=log,
        )


def finish(workdir: Path, arguments: tuple[str, ...], cache: Path) -> None:
    """Lets a run continue to its end."""
    if start(workdir, arguments, cache).wait() != 0:
        sys.exit(workdir.with_suffix(".log").read_text())


def is_saving(workdir: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any(workdir.glob("checkpoints/*tmp*"))


def kill(process: subprocess.Popen, workdir: Path, *moments: Callable[[], bool]) -> Kill | None:
    """Waits for the moments one after another, then kills; None if the run ended before."""
    started = time.monotonic()
    for is_there in moments:
        while not is_there():
            if process.poll() is not None:
                return None
            time.sleep(0.0005)
    process.kill()
    process.wait()
    steps = [int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()]
    seconds = round(time.monotonic() - started, 2)
    return Kill(seconds, is_saving(workdir), max(steps, default=0))


def passed(seconds: float) -> Callable[[], bool]:
    """The moment when `seconds` have passed since the first call."""
    asked = []

    def is_there() -> bool:
        asked.append(time.monotonic())
        return asked[-1] - asked[0] >= seconds

    return is_there


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs: logs, results, or arrays of their checkpoints."""
    names = ["metrics.jsonl", "result.json"]
    different = [n for n in names if (one / n).read_bytes() != (other / n).read_bytes()]
    checksums = [_checksums(workdir) for workdir in (one, other)]
    # The older of the two latest is not compared: a run that was stopped saves at other steps.
    for name in ("latest", "best"):
        if checksums[0][name] != checksums[1][name]:
            different.append(f"{name} checkpoint")
    return different


def _checksums(workdir: Path) -> dict[str, tuple]:
    """Number, validation and array checksums of the latest and of the best checkpoint."""
    contents = {}
    for path in workdir.glob("checkpoints/[0-9]*/meta/metadata"):
        meta = json.loads(path.read_text())["content"]
        contents[int(path.parts[-3])] = (meta["validation"], meta["progress"], meta["crc32"])
    validated = [n for n, (validation, *_) in contents.items() if validation]
    best = min(validated, key=lambda n: (contents[n][0]["nll"], n))
    latest = max(contents)
    return {"latest": (latest, contents[latest]), "best": (best, contents[best])}


def compare(
    directory: Path, arguments: tuple[str, ...], num_kills: int, seed: int
) -> tuple[list[Kill], list[str]]:
    """Does an undisturbed run and a killed one; returns the kills and what differs at the end."""
    choose = random.Random(seed)
    cache, calm, killed = directory / "cache", directory / "calm", directory / "killed"
    for _ in range(2):  # starting a run that has ended takes only start-up and test
        started = time.monotonic()
        finish(calm, arguments, cache)
        start_up = time.monotonic() - started
    epochs = [json.loads(line) for line in (calm / "timing.jsonl").read_text().splitlines()]
    training = len(epochs) * min(epoch["train_seconds"] for epoch in epochs)  # min: no compiling
    kills: list[Kill] = []
    while len(kills) < num_kills:
        log = killed.with_suffix(".log")
        said = log.stat().st_size if log.exists() else 0

        def begun(log: Path = log, said: int = said) -> bool:
            return "parameters" in log.read_bytes()[said:].decode()

        process = start(killed, arguments, cache)
        saving = functools.partial(is_saving, killed)
        later = passed(choose.uniform(0, 3 * training / num_kills))
        moments = [
            (begun, saving, later, saving),
            (passed(choose.uniform(0, start_up)),),
            (begun, saving, later),
            (begun, saving, later),
        ]
        killed_at = kill(process, killed, *moments[len(kills) % 4])
        if killed_at is None:
            break
        kills.append(killed_at)
        print(f"kill {len(kills)}: {killed_at}", flush=True)
    finish(killed, arguments, cache)
    return kills, differences(calm, killed)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=at_least(1), default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """The command."""
    with tempfile.TemporaryDirectory() as directory:
        kills, different = compare(Path(directory), RECIPE, options.kills, options.seed)
        num_in_save = sum(kill.in_save for kill in kills)
    print(f"{len(kills)} kills, {num_in_save} in a save; differences: {different or 'none'}")
    sys.exit(bool(different))


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
