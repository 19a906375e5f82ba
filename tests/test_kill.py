"""A short run of experiments/kill.py: real processes, really killed, each where it is told."""

import os
import subprocess
import sys
from pathlib import Path

from experiments import kill
from tests.many import SECONDS

ARGUMENTS = (
    f"--config={Path(__file__).parents[1]}/configs/quickstart.py:smoke",
    "--config.data.max_tokens=1000",
    "--config.optimizer.nonmono=1",
    "--config.train.log_steps=3",
    "--config.train.checkpoint_steps=1",
    "--config.train.num_epochs=3",
    "--config.train.num_devices=1",
)
# In the first save, when there is no checkpoint to go on from; in a later one; among windows.
STRIKES = ("save:1:KILL", "save:10:KILL", "window:5:KILL")


def test_a_killed_run_ends_bit_for_bit_where_the_undisturbed_one_does(tmp_path, monkeypatch):
    strikes = iter(STRIKES)

    def start(workdir, arguments, cache):
        strike = next(strikes, "") if workdir.name == "killed" else ""
        with workdir.with_suffix(".log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.forced", strike, *arguments, f"--workdir={workdir}"],
                cwd=kill.ROOT,
                env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
                stdout=log,
                stderr=log,
            )

    wait_and_look = kill.kill

    def killed(process, workdir, *moments):
        """Waits for a kill that needs no moment."""
        del moments
        assert process.wait(SECONDS) == -9
        return wait_and_look(process, workdir)

    monkeypatch.setattr(kill, "start", start)
    monkeypatch.setattr(kill, "kill", killed)
    kills, differences = kill.compare(tmp_path, ARGUMENTS, num_kills=len(STRIKES), seed=0)
    assert differences == []
    assert kills[0].in_save and kills[1].in_save
    assert [k.latest > 0 for k in kills] == [False, True, True]
