"""`python -m awd_jax.main --config=configs/ptb.py`: reads flags and config, runs one task."""

import sys
import traceback
from collections.abc import Sequence

from awd_jax import huge_pages

if __name__ == "__main__":
    huge_pages.use()  # before the imports that take seconds

import jax
from absl import app

from awd_jax import command_line
from awd_jax.errors import LostProcessError, RunError
from awd_jax.tasks import TASKS
from awd_jax.train import cluster, processes


def main(argv: Sequence[str]) -> None:
    """Runs one task on a checked config, alone or with other processes."""
    del argv
    name, config, workdir = command_line.task()
    place = command_line.place()
    if place is not None:
        cluster.join(place)
    try:
        processes.check_same({"--task": name}, but=())
        TASKS[name](config, workdir)
    except Exception as error:
        loss = cluster.explain_loss(error)
        if loss is None or isinstance(error, RunError):
            raise
        raise loss from error


def run() -> None:
    """The command: what ends a run early is one line and an exit code, see `errors`."""
    jax.config.config_with_absl()
    try:
        app.run(main, flags_parser=command_line.parse_flags)
    except RunError as error:
        print(f"awd_jax: {error}", file=sys.stderr)
        cluster.leave(error.exit_code, not isinstance(error, LostProcessError))
    except KeyboardInterrupt:
        print("awd_jax: interrupted", file=sys.stderr)
        cluster.leave(130, True)
    except Exception:  # a bug: the other processes must not wait for this one
        traceback.print_exc()
        cluster.leave(1, True)


if __name__ == "__main__":
    run()
