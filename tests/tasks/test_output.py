import subprocess
import sys
from pathlib import Path

import pytest

from awd_jax.errors import InputError
from awd_jax.tasks.output import open_output


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    with open_output(str(path)) as out:
        out.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing_and_an_older_file_as_it_was(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), open_output(str(path)) as out:
        out.write("new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be written"), open_output(f"{tmp_path}/no/out"):
        pass


def test_standard_output_is_utf8_and_stays_open(capfdbinary):
    with open_output("") as out:
        out.write("é\n")
    print("more")
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == "é\nmore\n".encode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_standard_output_that_cannot_be_written_is_named():
    code = (
        "from awd_jax.tasks.output import open_output\n"
        "with open_output('') as out: out.write('a line\\n')\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    last = done.stderr.splitlines()[-1]
    assert "InputError: standard output: cannot be written (No space left on device)" in last


def test_a_reader_that_has_gone_ends_it_quietly():
    code = (
        "from awd_jax.tasks.output import open_output\n"
        "with open_output('') as out:\n"
        "    for _ in range(10**6): out.write('a line\\n')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"a line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0
