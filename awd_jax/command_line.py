"""The flags of the command."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from awd_jax.errors import InputError, one_line
from awd_jax.tasks import SHARED_TASKS, TASKS
from awd_jax.train import recipe
from awd_jax.train.cluster import Place, find_place

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A recipe, such as configs/ptb.py; configs/ptb.py:smoke shrinks it."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run; '' for runs/<config.name>.")
_TASK = flags.DEFINE_enum("task", "train", list(TASKS), "What to do.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes, as jax finds them (TPU pod, SLURM, Open MPI)."
)
_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0; or JAX_COORDINATOR_ADDRESS."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the run; or JAX_NUM_PROCESSES.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0 on; or JAX_PROCESS_ID.", lower_bound=0
)
_START_TIMEOUT = flags.DEFINE_integer(
    "start_timeout", 300, "Seconds until all processes must have come.", lower_bound=1
)
_HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout", 100, "Seconds of silence until a process counts as dead.", lower_bound=1
)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Reads the command line and loads the config.

    Raises:
      InputError: an unknown flag or field, a value of a wrong type, or no config to load.
    """
    try:
        rest = flags.FLAGS(argv)
        if _CONFIG.value is None:
            raise InputError("--config", "is missing", "give a recipe: --config=configs/ptb.py")
        recipe.check(_CONFIG.value)
        if flags.FLAGS["verbosity"].using_default_value:
            # Orbax, through absl, and asyncio log pages of tracebacks for a save that failed,
            # where the error that reaches us is one line.
            absl_logging.set_verbosity(absl_logging.FATAL)
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    except InputError:
        raise
    except Exception as error:  # absl, ml_collections and the config's own code raise anything
        typo = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(error))
        if typo:
            fix = f"did you mean {typo[1]}?"
            raise InputError(f"config field {typo[2]}", "is unknown", fix) from error
        if isinstance(error, KeyError | AttributeError):  # of a field that is like no other
            fix = "see configs/default.py for all of them"
            raise InputError(f"config field {one_line(error)}", "is unknown", fix) from error
        raise InputError("command line", one_line(error), "see README.md, or --help") from error
    if rest[1:]:
        raise InputError(rest[1], "is no flag", "flags start with --")
    return rest


def task() -> tuple[str, ConfigDict, Path]:
    """The name of the task, its config and its workdir."""
    config = _CONFIG.value
    return _TASK.value, config, Path(_WORKDIR.value or f"runs/{config.name}")


def place() -> Place | None:
    """The place of this process among several; None if it is alone.

    Raises:
      InputError: as `find_place`; or the task is one for a single process.
    """
    found = find_place(
        Place(
            _ADDRESS.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            _START_TIMEOUT.value,
            _HEARTBEAT_TIMEOUT.value,
        ),
        _DISTRIBUTED.value,
        os.environ,
    )
    if found is not None and _TASK.value not in SHARED_TASKS:
        raise InputError(
            f"--task={_TASK.value}",
            f"runs in one process (in several: {', '.join(SHARED_TASKS)})",
            "start it once, without the flags and the environment of several processes",
        )
    return found
