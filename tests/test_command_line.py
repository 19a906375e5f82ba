"""What the command line does before it reads a flag."""

import sys
from pathlib import Path

import pytest

from awd_jax import command_line

ROOT = Path(command_line.__file__).parents[1]


@pytest.mark.parametrize("form", [["--config={}:smoke"], ["-config={}"], ["--config", "{}:smoke"]])
def test_a_recipe_finds_its_neighbours_from_any_directory(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [])
    words = [word.format("a/configs/my.py") for word in form]
    command_line._find_recipes(["main.py", *words, "--config.name=x", "--workdir=/tmp/x"])
    assert sys.path == [str(ROOT), str(tmp_path / "a")]
