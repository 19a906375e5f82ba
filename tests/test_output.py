"""The standard streams, in processes of their own, where they fail in every way they can."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from awd_jax.errors import InputError
from awd_jax.output import open_output
from tests.many import SECONDS, with_root

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")

# What a stream does to a task: prints a line, then says on standard error how that ended.
SAY = """
import sys
from awd_jax import output
from awd_jax.errors import RunError
output.open_streams()
try:
    output.say("a line")
    with output.open_output(None) as out:
        out.write("another")
except RunError as error:
    output.complain(str(error))
    sys.exit(error.exit_code)
output.complain("fine")
"""


def python(code, *, shell="", **variables):
    """A program whose streams the shell redirects."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$PYTHON" -c "$CODE" {shell}'],
        env={**os.environ, **with_root(), "PYTHON": sys.executable, "CODE": code} | variables,
        capture_output=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_line_is_printed_at_once_and_a_text_after_it():
    assert python(SAY) == (0, "a line\nanother", "awd_jax: fine\n")


@needs_full
def test_a_full_disk_is_bad_input_in_one_line():
    code, _, err = python(SAY, shell=">/dev/full")
    assert code == 2
    expected = "awd_jax: standard output: cannot be written (No space left on device); "
    assert err == expected + "give a file that can be written\n"


def test_a_closed_stream_is_bad_input_in_one_line():
    code, _, err = python(SAY, shell=">&-")
    assert code == 2
    assert err.startswith("awd_jax: standard output: cannot be written (Bad file descriptor); ")
    assert err.count("\n") == 1


def test_a_reader_that_has_gone_ends_it_quietly():
    process = subprocess.Popen(
        [sys.executable, "-c", SAY.replace('"another"', '"another" * 10**6')],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | with_root(),
    )
    assert process.stdout.readline() == b"a line\n"
    process.stdout.close()
    _, err = process.communicate(timeout=SECONDS)
    assert err == b"awd_jax: standard output is no longer read\n"  # `main` does not even say that
    assert process.returncode == 0


@pytest.mark.parametrize("shell", [pytest.param("2>/dev/full", marks=needs_full), "2>&-"])
def test_what_is_good_to_know_is_lost_where_standard_error_fails(shell):
    assert python(SAY, shell=shell) == (0, "a line\nanother", "")


def test_no_file_gets_the_number_of_a_closed_stream():
    code = "from awd_jax import output; output.open_streams(); print(open('/dev/null').fileno())"
    assert int(python(code, shell="<&- 2>&-")[1]) > 2


def test_what_a_stream_cannot_encode_is_replaced():
    code = """
from awd_jax import output
output.say("\\u00e9 \\ud800")
output.note("\\u00e9")
with output.open_output(None) as out:
    out.write("\\u00e9 \\ud800")  # a text for programs: UTF-8, whatever the terminal has
"""
    code, out, err = python(code, PYTHONIOENCODING="ascii")
    assert (code, out, err) == (0, "? ?\né ?", "\\xe9\n")


def test_an_error_is_one_line_whatever_a_name_in_it_holds():
    code = "from awd_jax import output; output.complain('runs/a\\nb: is no directory')"
    assert python(code)[2] == "awd_jax: runs/a\\nb: is no directory\n"


def test_nothing_comes_after_the_last_line():
    code = """
import os, sys
from awd_jax import output
before = sys.stderr
output.complain("the last line", is_last=True)
before.write("a page\\n")
os.write(2, b"a page of a layer below\\n")
"""
    assert python(code)[2] == "awd_jax: the last line\n"


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    with open_output(path) as out:
        out.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    with pytest.raises(ZeroDivisionError), open_output(path) as out:
        out.write("new")
        raise ZeroDivisionError
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    for path in (tmp_path / "no" / "out", tmp_path):
        with pytest.raises(InputError, match="cannot be written"), open_output(path):
            pass


def test_standard_output_stays_open(capfdbinary):
    with open_output(None) as out:
        out.write("é\n")
    print("more")
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == "é\nmore\n".encode()
