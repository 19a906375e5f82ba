"""`python -m awd_jax.main --config=configs/ptb.py`: reads flags and config, runs one task."""

import os
import sys
import traceback
from collections.abc import Sequence

from absl import flags

from awd_jax import output
from awd_jax.errors import (
    InputError,
    LostProcessError,
    ReaderGoneError,
    RunError,
    as_run_error,
    one_line,
)


def main(argv: Sequence[str]) -> None:
    """Runs one task on a checked config, alone or with other processes."""
    from awd_jax import command_line
    from awd_jax.run import launch, processes
    from awd_jax.run.stops import ended_by_signals
    from awd_jax.tasks import TASKS

    del argv
    name, config, workdir = command_line.task()
    place = command_line.place()
    if place is not None:
        launch.join(place)
    try:
        with ended_by_signals():
            processes.check_same({"--task": name}, but=())
            TASKS[name](config, workdir)
    except Exception as error:
        ours = as_run_error(error) or launch.explain_loss(error)
        if ours is None or ours is error:
            raise
        raise ours from error


def run() -> None:
    """Runs the command; an error that is meant for the user is one line and an exit code.

    See `errors`. That line is the last one: the process then ends at once, because threads of the
    libraries would complain while the interpreter shuts down.
    """
    output.open_streams()
    try:
        _start()
    except ReaderGoneError:
        _leave(0, others_too=True)
    except RunError as error:
        output.complain(str(error), is_last=True)
        _leave(error.exit_code, others_too=not isinstance(error, LostProcessError))
    except KeyboardInterrupt:
        output.complain("interrupted", is_last=True)
        _leave(130, others_too=True)
    except Exception:  # a bug: the other processes must not wait for this one
        output.note(traceback.format_exc().rstrip())
        _leave(1, others_too=True)


def _start() -> None:
    """Imports what a task needs, reads the flags, and runs it.

    Raises:
      InputError: jax refuses a setting in the environment, or a file of flags cannot be read: the
        imports read both, before any flag is parsed.
    """
    try:
        import jax
        from absl import app

        from awd_jax import command_line

        jax.config.config_with_absl()
    except (ValueError, flags.Error) as error:
        fix = "correct it; JAX_... are environment variables, --flagfile names a file"
        raise InputError("environment or command line", one_line(error), fix) from error
    app.run(main, flags_parser=command_line.parse_flags)


def _leave(exit_code: int, *, others_too: bool) -> None:
    launch = sys.modules.get("awd_jax.run.launch")
    if launch is None:  # the imports failed
        os._exit(exit_code)
    launch.leave(exit_code, others_too)


if __name__ == "__main__":
    run()
