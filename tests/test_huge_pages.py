"""Huge pages: the same process once more, with the setting, and nothing else changed."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from awd_jax import huge_pages

ROOT = Path(__file__).parents[1]
(NAME,) = huge_pages.ENVIRONMENT
PROGRAM = f"""
import os, sys
from awd_jax import huge_pages
print("started", flush=True)
huge_pages.use()
print(os.getpid(), os.environ[{NAME!r}], *sys.argv[1:])
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def start(arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if k != NAME}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = process.communicate(timeout=60)
    return process.pid, out.splitlines()


def test_the_program_starts_again_in_its_place_with_its_arguments():
    pid, lines = start(["-c", PROGRAM, "a b", "--c"])
    assert lines == ["started", "started", f"{pid} {huge_pages.ENVIRONMENT[NAME]} a b --c"]


@pytest.mark.parametrize("own", ["", "glibc.malloc.check=1"])
def test_settings_of_the_user_stay(own):
    pid, lines = start(["-c", PROGRAM], **{NAME: own})
    assert lines == ["started", " ".join([str(pid), own])]


def test_the_command_asks_for_them_before_anything_else(tmp_path):
    told = f"import os; print('setting:', os.environ.get({NAME!r}))"
    (tmp_path / "sitecustomize.py").write_text(told)  # python runs it at each start
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    _, lines = start(["-m", "awd_jax.main", "--help"], PYTHONPATH=path)
    assert lines[:2] == ["setting: None", f"setting: {huge_pages.ENVIRONMENT[NAME]}"]
