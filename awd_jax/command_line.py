"""The flags of the command."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from awd_jax import output, recipe
from awd_jax.errors import InputError, one_line
from awd_jax.files import local_path
from awd_jax.run.launch import Place, find_place
from awd_jax.tasks import SHARED_TASKS, TASKS

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A recipe, such as configs/ptb.py; configs/ptb.py:smoke shrinks it."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "Directory of the run; '' for runs/<config.name>.")
_TASK = flags.DEFINE_enum("task", "train", list(TASKS), "The task to run.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the processes that jax detects (TPU pod, SLURM, Open MPI)."
)
_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0; or set JAX_COORDINATOR_ADDRESS."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes; or set JAX_NUM_PROCESSES.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Index of this process, from 0 on; or set JAX_PROCESS_ID.", lower_bound=0
)
_LONGEST = 10**6  # seconds; a timer takes no more
_START_TIMEOUT = flags.DEFINE_integer(
    "start_timeout", 300, "Seconds within which all processes must join.", 1, _LONGEST
)
_HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout", 100, "Seconds of silence until a process counts as dead.", 1, _LONGEST
)
_HOLDERS = (
    *(_CONFIG, _WORKDIR, _TASK),
    *(_DISTRIBUTED, _ADDRESS, _NUM_PROCESSES, _PROCESS_ID, _START_TIMEOUT, _HEARTBEAT_TIMEOUT),
)
# The directory that has configs/: where pyproject.toml installs it, or the checkout.
_INSTALLED = Path(__file__).parent / "recipes"
_ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1]
_HELP = frozenset(("--help", "-help", "-h", "-?", "--helpshort", "--helpfull", "--helpxml"))


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Reads the command line and loads the config.

    Raises:
      InputError: an unknown flag or field, a value of a wrong type, or no config to load.
      SystemExit: help was asked for; it is printed.
    """
    if _HELP.intersection(argv[1:]):
        _print_help()
        raise SystemExit(0)
    if not any(re.match(r"--?(v|verbosity)\b", argument) for argument in argv[1:]):
        _silence_libraries()
    rest, config = _load(argv)
    if not flags.FLAGS["config"].present:
        raise InputError("--config", "is missing", "give a recipe: --config=configs/ptb.py")
    if not hasattr(config, "items"):
        what = f"gives {config!r}, which is not a config"
        raise InputError("get_config of --config", what, "return a ConfigDict, as recipes do")
    recipe.check(config)
    if rest[1:]:
        raise InputError(rest[1], "is not a flag", "flags start with --")
    return rest


def _load(argv: Sequence[str]) -> tuple[list[str], Any]:
    """Parses the flags, which runs the file of --config; returns other arguments and the config.

    While that file runs, its checkout and that of this package come first on the import path, so a
    recipe finds its neighbours (`from configs import default`) from any directory, even from one
    that has its own `configs`.

    Raises:
      InputError: the flags, or the file of --config, are wrong.
    """
    argv = list(argv)
    places = [_ROOT]
    for index, argument in enumerate(argv):
        name, is_given, value = argument.lstrip("-").partition("=")
        at = index if is_given else index + 1
        is_flag = index and argument.startswith("-")
        if is_flag and name == "config" and at < len(argv):
            value = _find_recipe(value if is_given else argv[at])
            argv[at] = f"--config={value}" if is_given else value
            places.insert(0, Path(value.partition(":")[0]).absolute().parent.parent)
    sys.path[:0] = map(str, places)
    try:
        rest = flags.FLAGS(argv)
        hasattr(_CONFIG.value, "items")  # raises if the file could not be loaded
        return rest, _CONFIG.value
    except (Exception, SystemExit) as error:  # absl, ml_collections and the file may raise anything
        raise _explain(error) from error
    finally:
        del sys.path[: len(places)]


def _find_recipe(value: str) -> str:
    """The value of --config; a recipe of this package stands for a file that is not there.

    Raises:
      InputError: there is neither, or it is a directory.
    """
    path, colon, variant = os.path.expanduser(value).partition(":")  # noqa: PTH111
    if not os.path.exists(path):  # noqa: PTH110, that of Path raises where a look is denied
        name = Path(path).as_posix()
        if name not in _recipes():
            rule = "is no file, and no recipe of this package"
            raise InputError(f"--config={value}", rule, "--help lists the recipes")
        output.note(f"awd_jax: {path} is not here: the recipe is {_ROOT / name}")
        path = str(_ROOT / name)
    if os.path.isdir(path):  # noqa: PTH112, as above
        raise InputError(f"--config={value}", "is a directory", "give a recipe in it")
    return path + colon + variant


def _recipes() -> dict[str, str]:
    """The first line of each recipe of this package, by its name: configs/ptb.py."""
    texts = {
        f"configs/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted(_ROOT.glob("configs/*.py"))
    }
    return {
        name: text.splitlines()[0].strip('"')
        for name, text in texts.items()
        if "def get_config(" in text
    }


def _silence_libraries() -> None:
    """Stops libraries from logging an error that they also raise, which becomes one line.

    When a save fails, orbax (through absl) and asyncio log pages of tracebacks, and tensorstore's
    threads report to an event loop that is closed by then.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = _report_unraisable


def _report_unraisable(unraisable: Any) -> None:
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def task() -> tuple[str, ConfigDict, Path]:
    """Returns the name of the task, its config and its workdir.

    Raises:
      InputError: the workdir is not a path of this machine.
    """
    config = _CONFIG.value
    workdir = local_path("--workdir", _WORKDIR.value or f"runs/{config.name}")
    return _TASK.value, config, workdir


def place() -> Place | None:
    """Returns the place of this process among several; None if it runs alone.

    Raises:
      InputError: as `find_place`; or the task runs in a single process only.
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


def _explain(error: BaseException) -> InputError:
    """Translates a library's error about the command line or the config into ours."""
    if isinstance(error, InputError):
        return error
    said = str(error)
    if typo := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', said):
        return InputError(f"config field {typo[2]}", "is unknown", f"did you mean {typo[1]}?")
    if "has no attribute 'get_config'" in said:
        fix = "define get_config(variant='') that returns a ConfigDict, as configs/ptb.py does"
        return InputError("the file of --config", "has no function get_config", fix)
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    if isinstance(error, KeyError | AttributeError) and "ml_collections" in raised_in:
        found = re.search(r"\.(\w+) does not exist", said) or re.search(r"'(\w+)'", said)
        name = found[1] if found else said
        fix = "see configs/default.py for all of them"
        return InputError(f"config field {name!r}", "is unknown", fix)
    kind = "" if isinstance(error, flags.Error) else f"{type(error).__name__}: "
    return InputError("command line", kind + one_line(error), "see README.md, or --help")


def _print_help() -> None:
    """Prints the tasks, the recipes, the flags and every config field with its rule."""
    output.say("python -m awd_jax.main --config=FILE [--task=TASK] [--workdir=DIR] [--config.X=Y]")
    output.say("\nTasks:")
    for name, function in TASKS.items():
        output.say(f"  {name:<14} {_first_sentence(function)}")
    output.say(f"\nRecipes, in {_ROOT}:")
    for name, line in _recipes().items():
        output.say(f"  {name:<36} {line}")
    output.say("\nFlags:")
    for holder in _HOLDERS:
        output.say(f"  --{holder.name:<22} {flags.FLAGS[holder.name].help}")
    output.say("\nConfig fields (their meaning and default: configs/default.py):")
    for name, rule in recipe.rules_of(*recipe.MODEL_RULES).items():
        output.say(f"  --config.{name:<36} {rule.words}")


def _first_sentence(function: Callable) -> str:
    return " ".join((function.__doc__ or "").split("\n\n")[0].split())
