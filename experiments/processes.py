"""Kills processes of a run at random, and compares what is left with the undisturbed run.

    python -m experiments.processes --processes=4 --kills=6

Real processes on this machine, one device each. After each kill all others must end
within the heartbeat's time; then all are started again with the same command. All that
was computed must be bit for bit that of the undisturbed run of the same shape.
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

sys.path.insert(0, str(Path(__file__).parents[1]))  # however this is started

from experiments.arguments import at_least
from experiments.kill import differences

ROOT = Path(__file__).parents[1]
HEARTBEAT = 10  # seconds
SECONDS = 600  # only what hangs takes so long
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
    """The processes of a run; what each prints goes to DIRECTORY/K.log."""

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
        """Until process 0 has printed them."""
        while words not in self.says():
            if self.processes[0].poll() is not None:
                sys.exit(f"process 0 ended before {words!r}:\n{self.says()}")
            time.sleep(0.02)

    def exit_codes(self) -> list[int]:
        """Of all, when they have ended."""
        return [process.wait(SECONDS) for process in self.processes]

    def finish(self) -> None:
        """Lets all go on to the end."""
        if any(self.exit_codes()):
            sys.exit(self.says())


def main(options: argparse.Namespace) -> None:
    """The command."""
    # Each kill comes two epochs after the one before; the last must find the run still at work.
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
                run.wait_for(f"epoch {2 * number + 2} |")  # two epochs further each time
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
