"""Types of the scripts' arguments: argparse reports a value that one of them refuses."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path


def at_least(least: int) -> Callable[[str], int]:
    """A whole number that is not smaller."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least {least}")
        return int(text)

    return read


def counts(text: str) -> list[int]:
    """Positive whole numbers, separated by commas."""
    return [at_least(1)(part) for part in text.split(",")]


def some_of(*choices: str) -> Callable[[str], list[str]]:
    """Some of the choices, separated by commas."""

    def read(text: str) -> list[str]:
        for word in text.split(","):
            if word not in choices:
                raise argparse.ArgumentTypeError(f"{word!r}: must be one of {', '.join(choices)}")
        return text.split(",")

    return read


def directory_with(*names: str) -> Callable[[str], Path]:
    """A directory that contains these files."""

    def read(text: str) -> Path:
        for name in names:
            if not (Path(text) / name).is_file():
                raise argparse.ArgumentTypeError(f"{text!r}: must be a directory with {name}")
        return Path(text)

    return read


def file(text: str) -> Path:
    """A file that exists."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: must be a file")
    return Path(text)


def program(text: str) -> str:
    """A program that can be started."""
    found = shutil.which(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a program")
    return str(Path(found).absolute())
