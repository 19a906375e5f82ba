from pathlib import PurePosixPath

import pytest

from awd_jax.data.catalogue import (
    PLAIN_LAYOUT,
    SOURCES,
    Part,
    file_names,
    find_local,
    find_splits,
    placement,
)
from awd_jax.errors import InputError


@pytest.mark.parametrize("name", SOURCES)
def test_the_remotes_make_up_the_last_layout(name):
    source = SOURCES[name]
    made = set()
    for remote in source.remotes:
        paths = [member.path for member in remote.members] or [remote.address]
        made |= {PurePosixPath(path).name for path in paths}
        for md5 in (remote.md5, *(member.md5 for member in remote.members)):
            assert md5 is None or (len(md5) == 32 and int(md5, 16))
    assert made == {part.file for part in source.layouts[-1]}


@pytest.mark.parametrize("name", SOURCES)
def test_every_layout_is_found(name, tmp_path):
    source = SOURCES[name]
    for number, layout in enumerate(source.layouts):
        directory = tmp_path / str(number)
        directory.mkdir()
        for file in {part.file for part in layout}:
            assert find_splits(directory, source.level, source.layouts) is None
            (directory / file).touch()
        splits = find_splits(directory, source.level, source.layouts)
        assert [text.name for text in splits] == [str(directory / part.file) for part in layout]
        assert {text.level for text in splits} == {source.level}


def test_parts_of_one_file_are_its_splits(tmp_path):
    (tmp_path / "all").write_bytes(b"aaabbc")
    layout = (Part("all", 0, 3), Part("all", 3, 5), Part("all", 5, 6))
    splits = find_splits(tmp_path, "byte", (PLAIN_LAYOUT, layout))
    assert [b"".join(text.blocks()) for text in splits] == [b"aaa", b"bb", b"c"]


def test_enwik8_is_split_90_5_5():
    parts = SOURCES["enwik8"].layouts[-1]
    assert [part.stop - part.start for part in parts] == [90_000_000, 5_000_000, 5_000_000]
    assert [part.start for part in parts] == [0, 90_000_000, 95_000_000]


@pytest.mark.parametrize("name", SOURCES)
def test_every_folder_below_the_variable_is_found(name, tmp_path, monkeypatch, write_splits):
    source = SOURCES[name]
    assert find_local(source) is None
    monkeypatch.setenv("AWD_JAX_DATA", str(tmp_path))
    assert name in source.folders
    for folder in source.folders:
        assert find_local(source) is None
        directory = write_splits(tmp_path / folder, "a", "b", "c")
        assert find_local(source).train.name == str(directory / "train.txt")
        (directory / "valid.txt").unlink()


def test_a_variable_that_names_no_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AWD_JAX_DATA", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"AWD_JAX_DATA=.*nothing: is not a directory"):
        find_local(SOURCES["ptb"])


def test_a_directory_that_cannot_be_searched_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        find_splits(tmp_path / ("long" * 100), "word", (PLAIN_LAYOUT,))


def test_the_fix_names_files_and_both_ways():
    assert file_names(SOURCES["enwik8"].layouts) == "train.txt, valid.txt, test.txt or enwik8"
    fix = placement(SOURCES["wikitext2"])
    for part in ("wiki.train.tokens", "--config.data.dir", "$AWD_JAX_DATA/wikitext-2"):
        assert part in fix
