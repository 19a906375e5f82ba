"""An encoded corpus is kept: contents decide which one it is, and damage is repaired."""

import errno
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awd_jax.data import encoded_file, encoding, text
from awd_jax.data.catalogue import Splits
from awd_jax.data.corpus import load_corpus
from awd_jax.data.encoded_file import read_encoded
from awd_jax.data.text import LEVELS, Text, file_text, string_text
from awd_jax.data.windows import batchify, even_plan
from awd_jax.errors import InputError
from tests.many import with_root

STRINGS = st.text(st.sampled_from("\n\n  abc_é\r\u3000中"), max_size=30)


def splits_of(*strings: str, level: str = "word") -> Splits:
    names = Splits._fields
    return Splits(*(string_text(n, level, s) for n, s in zip(names, strings, strict=True)))


def outcome(splits, vocabulary, cache_dir):
    """All that reading gives, an error's line too."""
    try:
        encoded = read_encoded(splits, vocabulary, str(cache_dir))
    except InputError as error:
        return str(error)
    assert not any(ids.flags.writeable for ids in encoded.ids)
    return encoded.vocabulary, [ids.tolist() for ids in encoded.ids], encoded.num_outside


SPLITS = splits_of("a b a <unk>\n" * 9, "", "é a")._replace(
    valid=Text("valid", "word", lambda: iter([b"b c\n", b"c <unk> c\n"]))
)
EXPECTED = outcome(SPLITS, "train", "")


@given(
    st.tuples(STRINGS, STRINGS, STRINGS), st.sampled_from(LEVELS), st.sampled_from(("train", "all"))
)
def test_what_is_kept_reads_as_what_is_encoded_anew(strings, level, vocabulary):
    splits = splits_of(*strings, level=level)
    expected = outcome(splits, vocabulary, "")
    with tempfile.TemporaryDirectory() as directory:
        first, second = (outcome(splits, vocabulary, directory) for _ in range(2))
        assert first == second == expected
        assert len(list(Path(directory).iterdir())) == (not isinstance(expected, str))


def test_a_second_reading_encodes_nothing(tmp_path, monkeypatch):
    assert EXPECTED[2] == (0, 3, 1)
    assert outcome(SPLITS, "train", tmp_path / "new" / "cache") == EXPECTED
    monkeypatch.setattr(encoded_file, "count_splits", None)
    assert outcome(SPLITS, "train", tmp_path / "new" / "cache") == EXPECTED


def test_contents_decide(tmp_path, write_splits):
    strings = ("a b\n", "b\n", "a\n")
    cache = tmp_path / "cache"

    def num_kept(strings, folder="text", level="word", vocabulary="train"):
        directory = write_splits(tmp_path / folder, *strings)
        load_corpus("text", str(directory), level, vocabulary, 0, str(cache))
        return len(list(cache.iterdir()))

    assert num_kept(strings) == 1
    assert num_kept(strings, folder="elsewhere") == 1
    assert num_kept(strings, vocabulary="all") == 2
    assert num_kept(strings, level="char") == 3
    assert num_kept(("a c\n", "b\n", "a\n")) == 4
    assert num_kept(("a b\n", "b\na\n", "\na\n")) == 5
    assert num_kept(("a b\n", "b\n", "a\n\na\n")) == 6


@settings(max_examples=40)  # each writes two files to the disk itself
@given(st.data())
def test_damage_is_found_and_repaired(data):
    with tempfile.TemporaryDirectory() as directory:
        outcome(SPLITS, "train", directory)
        (path,) = Path(directory).iterdir()
        whole = path.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << data.draw(st.integers(0, 7))
        damaged = data.draw(
            st.sampled_from((bytes(flipped), whole[:place], bytes(place), whole + b"\0"))
        )
        path.write_bytes(damaged)
        assert outcome(SPLITS, "train", directory) == EXPECTED
        assert path.read_bytes() == whole


def test_damage_is_told(tmp_path, capsys):
    outcome(SPLITS, "train", tmp_path)
    (path,) = tmp_path.iterdir()
    assert capsys.readouterr() == ("", "")
    path.write_bytes(b"")
    outcome(SPLITS, "train", tmp_path)
    assert capsys.readouterr() == ("", f"awd_jax: {path} is damaged, and is made again\n")


@pytest.mark.parametrize(
    "moment", ["encoded_file.json.dumps", "encoded_file.write_ids", "os.fsync"]
)
def test_a_kill_in_mid_write_leaves_nothing_that_is_read(moment, tmp_path, write_splits):
    directory = write_splits(tmp_path / "text", "a b\n", "b\n", "a\n")
    program = (
        "import os, signal; from awd_jax.data import corpus, encoded_file\n"
        f"{moment} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"corpus.load_corpus('text', {str(directory)!r}, 'word', 'all', 0, {str(tmp_path)!r})"
    )
    killed = subprocess.run([sys.executable, "-c", program], env=with_root())
    assert killed.returncode == -9
    assert not list(tmp_path.glob("*.corpus"))
    for _ in range(2):
        corpus = load_corpus("text", str(directory), "word", "all", 0, str(tmp_path))
        assert corpus.train.tolist() == [1, 2, 0]


def test_runs_that_write_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    write = encoded_file._write
    during = []

    def slow_write(*arguments):
        write(*arguments)
        monkeypatch.setattr(encoded_file, "_write", write)
        during.append(outcome(SPLITS, "train", tmp_path))

    monkeypatch.setattr(encoded_file, "_write", slow_write)
    assert outcome(SPLITS, "train", tmp_path) == EXPECTED
    assert during == [EXPECTED]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for place, reason in (("file", "File exists"), ("file/cache", "Not a directory")):
        assert outcome(SPLITS, "train", tmp_path / place) == (
            f"config.data.cache_dir = '{tmp_path / place}': cannot be used ({reason}); "
            "give a directory that can be written"
        )
    # A limit on the size of a file fails in the same calls as a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert "cannot be used (File too large)" in outcome(SPLITS, "train", tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "full").iterdir()) == []
    assert "must be a path on this machine" in outcome(SPLITS, "train", "gs://bucket/cache")


def test_ids_that_memory_cannot_hold_are_refused_before_they_are_made(tmp_path, monkeypatch):
    num_tokens = sum(map(len, EXPECTED[1]))
    monkeypatch.setattr(encoding, "available_bytes", lambda root: 4 * num_tokens)
    assert outcome(SPLITS, "train", "") == EXPECTED
    monkeypatch.setattr(encoding, "available_bytes", lambda root: 4 * num_tokens - 1)
    monkeypatch.setattr(encoding, "mmap", None)
    assert outcome(SPLITS, "train", "") == (
        f"corpus of {num_tokens} tokens: needs 0 MiB of memory for their ids (0 MiB are "
        "available); give --config.data.cache_dir=DIR, from where they are read as they are needed"
    )
    assert outcome(SPLITS, "train", tmp_path / "cache") == EXPECTED


def test_ids_that_the_system_refuses_are_refused_alike(monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(encoding, "mmap", SimpleNamespace(mmap=refuse))
    told = outcome(SPLITS, "train", "")
    assert "0 MiB of memory for their ids (Cannot allocate memory); give --config.data" in told


@pytest.mark.parametrize(
    ("is_kept", "bodies"),
    [
        (False, ["a\n", "a b\n"]),  # counted, encoded
        (False, ["a b\n", "a\n"]),
        (True, ["a\n", "a\n", "a b\n"]),  # named, counted, encoded, named
        (True, ["a\n", "a\n", "a\n", "b\n"]),
    ],
)
def test_a_text_that_changes_while_it_is_read_is_refused(is_kept, bodies, tmp_path):
    test = Text("test", "word", lambda: iter([bodies.pop(0).encode()]))
    told = outcome(SPLITS._replace(test=test), "train", tmp_path if is_kept else "")
    assert "test: has changed while it was read" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_kept", [False, True])
def test_memory_does_not_grow_with_the_text_beyond_its_ids(is_kept, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(encoded_file, "_BLOCK_BYTES", 1 << 14)
    made = []
    monkeypatch.setattr(
        mmap, "mmap", lambda *a, new=mmap.mmap, **k: made.append(a[1]) or new(*a, **k)
    )

    def peak(num_lines):
        path = tmp_path / f"{num_lines}.txt"
        path.write_text("a b c d e f g h i j k\n" * num_lines)
        splits = Splits(*[file_text(path, "word")] * 3)
        tracemalloc.start()
        encoded = read_encoded(splits, "train", str(tmp_path / "cache") if is_kept else "")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [len(ids) for ids in encoded.ids] == [12 * num_lines] * 3
        assert made.pop() == 3 * 12 * num_lines * 4
        return peak

    small = peak(1_000)
    assert peak(8_000) < 1.2 * small + 10_000


def test_windows_of_a_kept_corpus_are_views_of_the_file(tmp_path):
    train = read_encoded(SPLITS, "train", str(tmp_path)).ids[0]
    stream = batchify(train, 4)
    assert np.shares_memory(stream, train)
    expected = even_plan(batchify(np.array(EXPECTED[1][0], np.int32), 4), 5)
    for window, other in zip(even_plan(stream, 5), expected, strict=True):
        assert (window.inputs == other.inputs).all()
        assert (window.targets == other.targets).all()
