"""Real processes of one run, on this machine."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A limit ends only what hangs: nothing that works takes so long, however slow or busy the machine.
SECONDS = 600


@contextlib.contextmanager
def own_address() -> Iterator[str]:
    """Where nobody listens; nobody who looks for a free port gets it before the block ends."""
    with socket.socket() as holder:
        # gRPC sets the same option, so that the process which is told the address may listen there.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("", 0))
        yield f"localhost:{holder.getsockname()[1]}"


def with_root() -> dict[str, str]:
    """Environment of a process that finds this package from any directory."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def forced_devices(num_devices: int) -> dict[str, str]:
    """Environment of a process whose CPU is so many devices, with threads enough for them."""
    flags = re.sub(r"--xla_force_host\S+", "", os.environ.get("XLA_FLAGS", ""))
    return {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={num_devices}",
        "PJRT_NPROC": str(max(int(os.environ["PJRT_NPROC"]), 2 * num_devices)),
    }


class Many(contextlib.AbstractContextManager):
    """Starts the processes of a run, what each prints going to DIRECTORY/K.log.

    Args:
      strike: of the last process, see tests.forced.
      num_started: the others never come; None for all.
    """

    def __init__(
        self,
        directory: Path,
        arguments: tuple[str, ...],
        num_processes: int,
        num_devices: int,
        strike: str = "",
        num_started: int | None = None,
    ) -> None:
        self.logs = [directory / f"{k}.log" for k in range(num_processes)][:num_started]
        self._address = contextlib.ExitStack()
        environment = {
            **os.environ,
            **forced_devices(num_devices),
            "JAX_COORDINATOR_ADDRESS": self._address.enter_context(own_address()),
            "JAX_NUM_PROCESSES": str(num_processes),
        }
        self.processes = []
        for k, log in enumerate(self.logs):
            own_strike = strike if k == num_processes - 1 else ""
            command = [sys.executable, "-m", "tests.forced", own_strike, *arguments]
            with log.open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        [*command, f"--process_id={k}"],
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
        self._address.close()

    def says(self, process: int) -> str:
        """What it has printed so far."""
        return self.logs[process].read_text()

    def exit_codes(self) -> list[int]:
        """Of all, when they have ended."""
        return [process.wait(SECONDS) for process in self.processes]
