"""The command, as scripts that train many short runs start it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(config: str, task: str, workdir: Path, *flags: str) -> None:
    """Runs a task to its end, or goes on where it was stopped.

    `config` is absolute, or in the checkout. Runs beside each other share their programs, which
    take longer to compile than to run.
    """
    workdir = workdir.absolute()  # the command starts in the checkout
    command = [sys.executable, "-m", "awd_jax.main", f"--config={config}"]
    command += [f"--task={task}", f"--workdir={workdir}", *flags]
    environment = {"JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "programs"), **os.environ}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
