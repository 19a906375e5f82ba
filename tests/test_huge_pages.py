"""Huge pages: the same process once more, with the setting, and nothing else changed."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from awd_jax.huge_pages import SETTING, VARIABLE
from tests.many import SECONDS

ROOT = Path(__file__).parents[1]
PROGRAM = f"""
import os, sys, threading
from awd_jax import huge_pages
print("started", flush=True)
if "threads" in sys.argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
if "nowhere" in sys.argv:
    sys.executable = ""
huge_pages.use()
print(os.getpid(), os.environ.get({VARIABLE!r}), *sys.argv[1:])
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def start(arguments, path=(), **variables):
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    path = os.pathsep.join([*map(str, path), str(ROOT)])
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=environment | {"PYTHONPATH": path} | variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    return process.pid, out.splitlines()


def test_the_program_starts_again_in_its_place_with_its_arguments():
    pid, lines = start(["-c", PROGRAM, "a b", "--c"])
    assert lines == ["started", "started", f"{pid} {SETTING} a b --c"]


@pytest.mark.parametrize("own", ["", "glibc.malloc.check=1"])
def test_settings_of_the_user_stay(own):
    pid, lines = start(["-c", PROGRAM], **{VARIABLE: own})
    assert lines == ["started", f"{pid} {own}"]


@pytest.mark.parametrize("what", ["threads", "nowhere"])
def test_a_program_that_cannot_start_again_goes_on(what):
    pid, lines = start(["-c", PROGRAM, what])
    assert lines == ["started", f"{pid} None {what}"]


def test_it_starts_again_once_though_the_setting_is_lost(tmp_path):
    # python runs it at each start
    (tmp_path / "sitecustomize.py").write_text(f"import os; os.environ.pop({VARIABLE!r}, None)")
    pid, lines = start(["-c", PROGRAM], [tmp_path])
    assert lines == ["started", "started", f"{pid} None"]


def test_the_command_asks_for_them_before_anything_else(tmp_path):
    told = f"import os; print('setting:', os.environ.get({VARIABLE!r}))"
    (tmp_path / "sitecustomize.py").write_text(told)
    (tmp_path / "jax.py").write_text("raise SystemExit(print('jax'))")
    _, lines = start(["-m", "awd_jax.main"], [tmp_path])
    assert lines == ["setting: None", f"setting: {SETTING}", "jax"]
