"""Kills random processes of a run, and compares its final state with an undisturbed run.

    python -m experiments.processes --processes=4 --kills=6

The processes run on this machine, with one device each. After each kill all others must end within
the heartbeat timeout; then all are started again with the same command. Everything computed must
equal, bit for bit, that of an undisturbed run with as many processes.
"""

import argparse
import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least
from experiments.kill import differences

ROOT = Path(__file__).parents[1]
HEARTBEAT = 10  # seconds
SECONDS = 600  # only a process that hangs takes this long
RECIPE = (
    "--config=configs/quickstart.py:smoke",
    "--config.data.max_tokens=1000",
    "--config.optimizer.learning_rate=20",
    "--config.optimizer.nonmono=1",
    "--config.train.bptt=8",
    "--config.train.log_steps=3",
    "--config.train.checkpoint_steps=5",
    "--config.train.num_devices=1",
    f"--heartbeat_timeout={HEARTBEAT}",
)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=at_least(2), default=4)
    parser.add_argument("--kills", type=at_least(1), default=6)
    return parser.parse_args(argv)


class Run(contextlib.AbstractContextManager):
    """The processes of a run; the output of process K goes to DIRECTORY/K.log."""

    def __init__(self, directory: Path, arguments: tuple[str, ...], num_processes: int) -> None:
        self._logs = [directory / f"{k}.log" for k in range(num_processes)]
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        command = [sys.executable, "-m", "awd_jax.main", *arguments]
        command += [f"--coordinator_address={address}", f"--num_processes={num_processes}"]
        self.processes = []
        for k, log in enumerate(self._logs):
            with log.open("w") as output:
                started = subprocess.Popen(
                    [*command, f"--process_id={k}"], cwd=ROOT, stdout=output, stderr=output
                )
            self.processes.append(started)

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def says(self) -> str:
        """What process 0 has printed so far."""
        return self._logs[0].read_text()

    def wait_for(self, words: str) -> None:
        """Waits until process 0 has printed these words."""
        while words not in self.says():
            if self.processes[0].poll() is not None:
                sys.exit(f"process 0 ended before {words!r}:\n{self.says()}")
            time.sleep(0.02)

    def exit_codes(self) -> list[int]:
        """Waits until all have ended, and returns their exit codes."""
        return [process.wait(SECONDS) for process in self.processes]

    def finish(self) -> None:
        """Waits until all have ended; exits if one failed."""
        if any(self.exit_codes()):
            sys.exit(self.says())


def main(options: argparse.Namespace) -> None:
    """The command."""
    # Kills are two epochs apart, and the run must last beyond the last one.
    recipe = (*RECIPE, f"--config.train.num_epochs={max(10, 2 * options.kills + 2)}")
    choose = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        calm, killed = directory / "calm", directory / "killed"
        with Run(directory, (*recipe, f"--workdir={calm}"), options.processes) as run:
            run.finish()
        epochs = [json.loads(line) for line in (calm / "metrics.jsonl").read_text().splitlines()]
        print(f"calm: {epochs[-1]}")
        for number in range(options.kills):
            with Run(directory, (*recipe, f"--workdir={killed}"), options.processes) as run:
                run.wait_for(f"epoch {2 * number + 2} |")
                time.sleep(choose.uniform(0, 1))
                victim = choose.randrange(options.processes)
                run.processes[victim].kill()
                started = time.monotonic()
                codes = run.exit_codes()
                seconds = time.monotonic() - started
                resumed = [line for line in run.says().splitlines() if "resumed" in line]
                print(
                    f"kill {number + 1} of process {victim}: {resumed}, all ended after "
                    f"{seconds:.1f} s with {codes}",
                    flush=True,
                )
        with Run(directory, (*recipe, f"--workdir={killed}"), options.processes) as run:
            run.finish()
        different = differences(calm, killed)
    print(f"differences: {different or 'none'}")
    sys.exit(bool(different))


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
