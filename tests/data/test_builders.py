import contextlib
import io
from pathlib import Path

import pytest

from awd_jax.data import builders, text
from awd_jax.data.catalogue import SOURCES, Part
from awd_jax.data.corpus import load_corpus
from awd_jax.data.text import count_tokens, string_text
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError
from tests.encoded import whole_ids

TEXTS = {
    "train": "\ufeffthe cat  sat\r\n\n on <unk> é\u2028mat\n" * 40,
    "valid": "no line end",
    "test": "a\n\n",
}
PTB_FILES = {f"ptb.{split}.txt": body.encode() for split, body in TEXTS.items()}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """So that a split has several records."""
    monkeypatch.setattr(text, "BLOCK_BYTES", 100)


def read(splits) -> list[bytes]:
    return [b"".join(part.blocks()) for part in splits]


def close_addresses(name, monkeypatch):
    """Makes every later download of the corpus fail."""
    remote = SOURCES[name].remotes[0]._replace(address="http://127.0.0.1:1/closed")
    monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(remotes=(remote,)))


def test_downloaded_files_are_prepared_byte_for_byte_and_found_again(publish, server, monkeypatch):
    publish("ptb", PTB_FILES)
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        splits = builders.prepared_splits("ptb")
    assert stdout.getvalue() == ""
    assert read(splits) == [body.encode() for body in TEXTS.values()]
    assert read(splits) == read(splits), "a text can be read again"
    assert len(list(splits.train.blocks())) > 5
    close_addresses("ptb", monkeypatch)
    assert read(builders.prepared_splits("ptb")) == read(splits)
    assert server.num_requests == 3


@pytest.mark.parametrize("name", ["wikitext2", "wikitext103"])
def test_wikitext_comes_from_its_archive(name, publish):
    files = {f"{name}/wiki.{split}.tokens": body.encode() for split, body in TEXTS.items()}
    publish(name, files, "wikitext.zip")
    assert read(builders.prepared_splits(name)) == [body.encode() for body in TEXTS.values()]


@pytest.mark.parametrize("name", ["enwik8", "text8"])
def test_wikipedia_is_cut_at_bytes(name, publish, monkeypatch):
    body = bytes(range(256)) * 10
    layout = (Part(name, 0, 2000), Part(name, 2000, 2300), Part(name, 2300, 2560))
    source = publish(name, {name: body}, f"{name}.zip")
    monkeypatch.setitem(SOURCES, name, source._replace(layouts=(layout,)))
    assert read(builders.prepared_splits(name)) == [body[:2000], body[2000:2300], body[2300:]]
    corpus = load_corpus(name, "", "byte", "all", 0, "")
    assert len(corpus.vocabulary) == 256
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [2001, 301, 261]


def test_ptb_char_is_spelled_and_reads_as_the_characters(publish):
    publish("ptb_char", PTB_FILES)
    splits = builders.prepared_splits("ptb_char")
    assert b"".join(splits.train.blocks()).startswith(b"t h e _ c a t _ _ s a t\n\no n _ < u n k >")
    assert b"".join(splits.test.blocks()) == b"a\n\n\n"
    for part, body in zip(splits, TEXTS.values(), strict=True):
        chars = string_text("chars", "char", body)
        counts = count_tokens(chars)
        assert count_tokens(part) == counts
        vocabulary = Vocabulary.from_counts(counts)
        assert (whole_ids(part, vocabulary) == whole_ids(chars, vocabulary)).all()


def test_a_corpus_is_the_same_from_files_download_and_dataset(
    publish, monkeypatch, tmp_path, write_splits
):
    directory = write_splits(tmp_path / "mine", **TEXTS)
    for name, level in (("ptb", "word"), ("ptb_char", "char")):
        publish(name, PTB_FILES)
        given = load_corpus(name, str(directory), level, "all", 0, "")
        downloaded = load_corpus(name, "", level, "all", 0, "")
        close_addresses(name, monkeypatch)
        prepared = load_corpus(name, "", level, "all", 0, "")
        for other in (downloaded, prepared):
            assert other.vocabulary == given.vocabulary
            for split in ("train", "valid", "test"):
                assert (getattr(other, split) == getattr(given, split)).all()


@pytest.mark.parametrize("place", ["manual", "variable", "downloads"])
def test_files_at_hand_are_prepared_without_network(place, tmp_path, monkeypatch, write_splits):
    close_addresses("ptb", monkeypatch)
    folder = {"manual": "tfds/downloads/manual", "variable": "data/penn"}
    write_splits(tmp_path / folder.get(place, "tfds/downloads/penn"), **TEXTS)
    if place == "variable":
        monkeypatch.setenv("AWD_JAX_DATA", str(tmp_path / "data"))
    builder = builders.Ptb(data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    train = builder.as_data_source(split="train")
    assert b"".join(record["text"] for record in train) == TEXTS["train"].encode()


def test_a_failed_download_prepares_nothing_and_a_retry_works(publish, server):
    publish("ptb", PTB_FILES)
    valid = server.files.pop("ptb.valid.txt")
    with pytest.raises(InputError, match=r"ptb.valid.txt: cannot be downloaded .*404"):
        builders.prepared_splits("ptb")
    server.files["ptb.valid.txt"] = valid
    assert read(builders.prepared_splits("ptb"))[1] == valid


@pytest.mark.parametrize(
    ("body", "message"), [(b"ok\n\xff\n", ", line 2: byte 0xff"), (b"", ": is empty")]
)
def test_a_bad_file_prepares_nothing(publish, tmp_path, body, message):
    publish("ptb_char", {**PTB_FILES, "ptb.test.txt": body})
    with pytest.raises(InputError, match=rf"ptb.test.txt{message}"):
        builders.prepared_splits("ptb_char")
    assert list((tmp_path / "tfds" / "ptb_char").iterdir()) == []


def test_a_data_directory_that_cannot_be_written_is_refused(publish, tmp_path, monkeypatch):
    publish("ptb", PTB_FILES)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/ptb/1.0.0: cannot be written"):
        builders.prepared_splits("ptb")


def test_another_process_may_be_faster(publish, monkeypatch):
    publish("ptb", PTB_FILES)
    blocks = builders.Ptb._blocks

    def late_blocks(self, text):
        monkeypatch.setattr(builders.Ptb, "_blocks", blocks)
        builders.prepared_splits("ptb")
        return blocks(self, text)

    monkeypatch.setattr(builders.Ptb, "_blocks", late_blocks)
    assert read(builders.prepared_splits("ptb")) == [body.encode() for body in TEXTS.values()]


@pytest.mark.parametrize("damage", ["empty", "gone", "half"])
def test_a_damaged_dataset_is_named(publish, damage):
    publish("ptb", PTB_FILES)
    splits = builders.prepared_splits("ptb")
    directory = Path(splits.train.name.removesuffix(" (train)"))
    [file] = directory.glob("*train*")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "half" else b"")
    with pytest.raises(InputError, match=r"ptb/1.0.0 \(train\): cannot be read .*; delete that"):
        read(builders.prepared_splits("ptb"))


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_a_builder_of_its_name(name, tmp_path):
    assert builders._BUILDERS[name](data_dir=tmp_path).name == name
