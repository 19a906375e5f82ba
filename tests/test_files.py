"""Paths, texts and whole files, as users name them."""

import json
import os
import stat
from pathlib import Path

import pytest

from awd_jax.errors import InputError
from awd_jax.files import is_local, local_path, read_text, to_json, whole_file


@pytest.mark.parametrize(
    "path",
    ["gs://bucket/run", "s3://b", "file:///tmp/x", "https://host/v.json", "hdfs://a/b", "a\0"],
)
def test_an_address_is_no_path(path):
    assert not is_local(path)
    with pytest.raises(InputError, match=r"--workdir .*must be a path on this machine"):
        local_path("--workdir", path)


@pytest.mark.parametrize("path", ["", "runs/x", "/tmp/a:b", "gs:", "a b", "-", "c:/x", "./gs:/x"])
def test_what_looks_like_an_address_and_is_a_path_stays(path):
    assert local_path("--workdir", path) == Path(path)


def test_the_home_directory_is_meant_by_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("--workdir", "~/runs") == Path("/home/me/runs")
    assert local_path("--workdir", "runs/~x") == Path("runs/~x")
    with pytest.raises(InputError, match="cannot be used"):
        local_path("--workdir", "~nobody-of-this-name/x")


def test_a_path_that_the_system_refuses_to_look_up_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--workdir .* cannot be used \(File name too long\)"):
        local_path("--workdir", f"{tmp_path}/{'n' * 10_000}")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"cannot be used \(Too many levels of symbolic links\)"):
        local_path("--workdir", f"{tmp_path}/loop/run")
    (tmp_path / "file").touch()
    local_path("--workdir", f"{tmp_path}/file")  # what it is for decides whether that will do
    local_path("--workdir", f"{tmp_path}/file/none")


def test_a_text_is_read_without_its_byte_order_mark(tmp_path):
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa\r\n\xc3\xa9\n")
    assert read_text("text", tmp_path / "t", "fix it") == "a\r\né\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\xff\n", "text, line 2: byte 0xff is not UTF-8; fix it"),
        (None, "text: cannot be read (No such file or directory); fix it"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "t").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_text("text", tmp_path / "t", "fix it")
    assert str(error.value) == expected


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / ("n" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    with whole_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing_and_an_older_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), whole_file(path) as file:
        file.write(b"new")
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_and_links_stay(tmp_path):
    path, link, dangling = tmp_path / "file", tmp_path / "link", tmp_path / "dangling"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to("file")
    dangling.symlink_to("made")
    for name in (link, dangling):
        with whole_file(name) as file:
            file.write(b"new")
        assert name.is_symlink()
        assert name.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_bytes() == b"new"


def test_what_is_no_regular_file_is_written_to_and_stays(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(fifo) as file:
        file.write(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert fifo.is_fifo()
    with whole_file(Path(os.devnull)) as file:
        file.write(b"new")
    assert Path(os.devnull).is_char_device()
    assert list(tmp_path.iterdir()) == [fifo]


def test_what_the_shell_has_opened_is_written_to(tmp_path):
    """As `--config.score.output=/dev/stdout >> log` means it."""
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    with log.open("ab") as opened, whole_file(Path(f"/dev/fd/{opened.fileno()}")) as file:
        file.write(b"new\n")
    assert log.read_bytes() == b"before\nnew\n"


def test_a_directory_is_not_written(tmp_path):
    with pytest.raises(IsADirectoryError), whole_file(tmp_path):
        pass


def test_json_has_null_for_what_is_no_number():
    content = {"a": [float("-inf"), 1.5, {"b": (float("nan"), "Infinity")}], "c": True}
    assert json.loads(to_json(content)) == {"a": [None, 1.5, {"b": [None, "Infinity"]}], "c": True}
