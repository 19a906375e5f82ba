"""`python -m awd_jax.main --config=configs/ptb.py`: reads flags and config, runs one task."""

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from awd_jax.errors import InputError, RunError, one_line
from awd_jax.tasks import TASKS
from awd_jax.train import recipe

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A recipe, such as configs/ptb.py; configs/ptb.py:smoke shrinks it."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run; '' for runs/<config.name>.")
_TASK = flags.DEFINE_enum("task", "train", list(TASKS), "What to do.")


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


def main(argv: Sequence[str]) -> None:
    """Runs one task on a checked config."""
    del argv
    config = _CONFIG.value
    TASKS[_TASK.value](config, Path(_WORKDIR.value or f"runs/{config.name}"))


def run() -> None:
    """The command: what ends a run early is one line and an exit code, see `errors`."""
    jax.config.config_with_absl()
    try:
        app.run(main, flags_parser=parse_flags)
    except RunError as error:
        print(f"awd_jax: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("awd_jax: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
