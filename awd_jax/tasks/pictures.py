"""Figures of tasks that draw: matplotlib is an extra."""

import warnings
from pathlib import Path
from typing import Any

from awd_jax.errors import InputError, StorageError
from awd_jax.files import whole_file


def load_figure(task: str) -> type[Any]:
    """Returns matplotlib's class of figures, which needs no display.

    Raises:
      InputError: matplotlib is not installed; it names the task.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        fix = "install it: pip install '.[plot]'"
        raise InputError(f"--task={task}", "needs matplotlib", fix) from error
    matplotlib.rcParams["svg.hashsalt"] = "awd_jax"  # the same figure is the same file
    return Figure


def save_figure(figure: Any, *paths: Path) -> None:
    """Writes a figure to each path, in the format that its name ends with, whole or not at all.

    Raises:
      StorageError: one cannot be written.
    """
    for path in paths:
        try:
            with whole_file(path) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a font that lacks a character shows a box
                form = path.suffix[1:]
                of_form = {"metadata": {"Date": None}} if form == "svg" else {}
                figure.savefig(file, format=form, dpi=120, **of_form)
        except OSError as error:
            raise StorageError(str(path), error) from error
