"""Kills processes of a run at random, and compares what is left with the undisturbed run.

    python -m experiments.processes --processes=4 --kills=6

Real processes on this machine, one device each. After each kill all others must end
within the heartbeat's time; then all are started again with the same command. All that
was computed must be bit for bit that of the undisturbed run of the same shape.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from experiments.kill import differences
from tests.many import Many

HEARTBEAT = 10  # seconds
RECIPE = (
    "--config=configs/quickstart.py:smoke",
    "--config.data.max_tokens=1000",
    "--config.optimizer.learning_rate=20",
    "--config.optimizer.nonmono=1",
    "--config.train.bptt=8",
    "--config.train.log_steps=3",
    "--config.train.checkpoint_steps=5",
    "--config.train.num_epochs=10",
    f"--heartbeat_timeout={HEARTBEAT}",
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=6)
    options = parser.parse_args()
    choose = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        calm, killed = directory / "calm", directory / "killed"
        with Many(directory, (*RECIPE, f"--workdir={calm}"), options.processes, 1) as many:
            assert many.exit_codes(600) == [0] * options.processes, many.says(0)
        epochs = [json.loads(line) for line in (calm / "metrics.jsonl").read_text().splitlines()]
        print(f"calm: {epochs[-1]}")
        for number in range(options.kills):
            with Many(directory, (*RECIPE, f"--workdir={killed}"), options.processes, 1) as many:
                many.wait_for(f"epoch {2 * number + 2} |", 120)  # two epochs further each time
                time.sleep(choose.uniform(0, 1))
                victim = choose.randrange(options.processes)
                many.processes[victim].kill()
                started = time.monotonic()
                codes = many.exit_codes(HEARTBEAT + 30)
                seconds = time.monotonic() - started
                resumed = [line for line in many.says(0).splitlines() if "resumed" in line]
                print(
                    f"kill {number + 1} of process {victim}: {resumed}, all ended after "
                    f"{seconds:.1f} s with {codes}",
                    flush=True,
                )
        with Many(directory, (*RECIPE, f"--workdir={killed}"), options.processes, 1) as many:
            assert many.exit_codes(600) == [0] * options.processes, many.says(0)
        different = differences(calm, killed)
    print(f"differences: {different or 'none'}")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
