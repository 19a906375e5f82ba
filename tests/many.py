"""Real processes of one run, on this machine."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_address() -> str:
    """Where nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return f"localhost:{listener.getsockname()[1]}"


def forced_devices(num_devices: int) -> dict[str, str]:
    """Environment of a process whose CPU is so many devices, with threads enough for them."""
    flags = re.sub(r"--xla_force_host\S+", "", os.environ.get("XLA_FLAGS", ""))
    return {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={num_devices}",
        "PJRT_NPROC": str(max(8, 2 * num_devices)),
    }


class Many(contextlib.AbstractContextManager):
    """Starts all processes of a run, what each prints going to DIRECTORY/K.log."""

    def __init__(
        self, directory: Path, arguments: tuple[str, ...], num_processes: int, num_devices: int
    ) -> None:
        self.logs = [directory / f"{k}.log" for k in range(num_processes)]
        environment = {
            **os.environ,
            **forced_devices(num_devices),
            "JAX_COORDINATOR_ADDRESS": free_address(),
            "JAX_NUM_PROCESSES": str(num_processes),
        }
        self.processes = []
        for k, log in enumerate(self.logs):
            with log.open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "awd_jax.main", *arguments, f"--process_id={k}"],
                        cwd=ROOT,
                        env=environment,
                        stdout=output,
                        stderr=output,
                    )
                )

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def says(self, process: int) -> str:
        """What it has printed so far."""
        return self.logs[process].read_text()

    def wait_for(self, words: str, seconds: float = 60) -> None:
        """Until process 0 has printed them."""
        deadline = time.monotonic() + seconds
        while words not in self.says(0):
            if time.monotonic() > deadline or self.processes[0].poll() is not None:
                raise AssertionError(self.says(0))
            time.sleep(0.02)

    def exit_codes(self, seconds: float = 60) -> list[int]:
        """Of all, when they have ended."""
        return [process.wait(seconds) for process in self.processes]
