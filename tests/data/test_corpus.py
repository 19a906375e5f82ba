import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from awd_jax.data.catalogue import SOURCES
from awd_jax.data.corpus import load_corpus
from awd_jax.data.vocabulary import EOS, UNK
from awd_jax.errors import InputError


@pytest.fixture
def mine(tmp_path, write_splits):
    """Writes a corpus and returns its directory."""

    def write(train="a b a\n", valid="b a\n", test="a\n") -> str:
        return str(write_splits(tmp_path / "mine", train, valid, test))

    return write


def test_the_vocabulary_of_train_reads_other_tokens_as_unk(mine):
    directory = mine(valid="b x y\n", test=f"a {UNK}\n")
    corpus = load_corpus("text", directory, "word", "train", 0, "")
    assert corpus.vocabulary.tokens == ("a", "b", EOS, UNK)
    assert corpus.train.tolist() == [0, 1, 0, 2]
    assert corpus.valid.tolist() == [1, 3, 3, 2]
    assert corpus.test.tolist() == [0, 3, 2]
    assert corpus.notes == ("valid: 2 of 4 tokens outside the vocabulary read as <unk>",)
    assert corpus.train.dtype == np.int32
    assert (corpus.name, corpus.level, corpus.entropy) == ("text", "word", None)


def test_unk_in_train_is_not_added_twice(mine):
    corpus = load_corpus("text", mine(train=f"{UNK} {UNK} a\n"), "word", "train", 0, "")
    assert corpus.vocabulary.tokens == (UNK, "a", EOS)


def test_the_vocabulary_of_all_adds_nothing(mine):
    directory = mine(valid="b x y x x x\n")
    corpus = load_corpus("text", directory, "word", "all", 0, "")
    assert corpus.vocabulary.tokens == ("x", "a", EOS, "b", "y")
    assert corpus.notes == ()


@pytest.mark.parametrize("level", ["char", "byte"])
def test_characters_and_bytes_that_train_lacks_are_unk_as_words_are(level, mine):
    directory = mine(valid="b\nax\n")
    corpus = load_corpus("text", directory, level, "all", 0, "")
    assert corpus.vocabulary.unk_id is None
    corpus = load_corpus("text", directory, level, "train", 0, "")
    assert (corpus.valid == corpus.vocabulary.unk_id).sum() == 1
    assert corpus.notes[0].startswith("valid: 1 of ")


@pytest.mark.parametrize(
    ("name", "directory", "level", "vocabulary", "message"),
    [
        ("penn", "", "word", "train", r'corpus "penn": .*use ptb, ptb_char'),
        ("ptb", "", "words", "train", 'level "words": .*use word, char, byte'),
        ("ptb", "", "word", "both", 'vocabulary "both": .*use train, all'),
        ("ptb", "", "char", "train", 'level "char": .*use corpus "ptb_char"'),
        ("ptb_char", "", "word", "train", 'level "word": .*use corpus "ptb"'),
        ("enwik8", "", "char", "train", 'level "char": .*use .*corpus "text"'),
        ("wikitext2", "", "byte", "train", 'level "byte": .*use .*corpus "text"'),
        ("text", "", "word", "train", 'corpus "text": .*train.txt, valid.txt, test.txt'),
        ("text", "/nothing", "word", "train", "directory /nothing: does not exist"),
        ("ptb", "/nothing", "word", "train", r"/nothing: does not exist; .*ptb.train.txt"),
    ],
)
def test_wrong_arguments_are_refused(name, directory, level, vocabulary, message):
    with pytest.raises(InputError, match=message):
        load_corpus(name, directory, level, vocabulary, 0, "")


def test_a_given_directory_is_the_only_place(tmp_path, monkeypatch, mine, write_splits):
    monkeypatch.setenv("AWD_JAX_DATA", str(tmp_path))
    write_splits(tmp_path / "penn", "a\n", "a\n", "a\n")
    directory = mine()
    assert len(load_corpus("ptb", directory, "word", "all", 0, "").train) == 4
    assert len(load_corpus("ptb", "", "word", "all", 0, "").train) == 2
    Path(directory, "test.txt").unlink()
    with pytest.raises(InputError, match=r"lacks files .*train.txt, valid.txt, test.txt"):
        load_corpus("ptb", directory, "word", "all", 0, "")


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("body", [b"", b"\n \n", b"\xff", None])
def test_a_bad_split_file_is_named(split, body, mine):
    directory = mine()
    path = Path(directory, f"{split}.txt")
    path.unlink()
    if body is None:
        path.mkdir()
    else:
        path.write_bytes(body)
    for vocabulary in ("train", "all"):
        with pytest.raises(InputError, match=f"{split}.txt"):
            load_corpus("text", directory, "word", vocabulary, 0, "")


def test_offline_the_message_says_everything(monkeypatch):
    remote = SOURCES["ptb"].remotes[0]._replace(address="http://127.0.0.1:1/ptb.train.txt")
    monkeypatch.setitem(SOURCES, "ptb", SOURCES["ptb"]._replace(remotes=(remote,)))
    with pytest.raises(InputError) as caught:
        load_corpus("ptb", "", "word", "all", 0, "")
    for part in (
        "http://127.0.0.1:1/ptb.train.txt",
        "train.txt, valid.txt, test.txt or ptb.train.txt",
        "--config.data.dir",
        "$AWD_JAX_DATA/penn",
    ):
        assert part in str(caught.value)


def test_local_files_need_neither_tfds_nor_jax(mine):
    program = (
        "import sys; from awd_jax.data.corpus import load_corpus; from awd_jax.data import windows;"
        f"load_corpus('text', {mine()!r}, 'word', 'all', 0, '');"
        "assert not {'tensorflow_datasets', 'jax', 'absl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_synthetic_corpus_follows_from_its_seed():
    one, again, other = (load_corpus("synthetic", "", "word", "train", s, "") for s in (1, 1, 2))
    assert 0 < one.entropy < np.log(len(one.vocabulary))
    assert (one.train == again.train).all()
    assert not np.array_equal(one.train, other.train)
    assert one.vocabulary.unk_id == len(one.vocabulary) - 1


@pytest.mark.parametrize(
    ("name", "level", "counts", "num_tokens"),
    [
        ("ptb", "word", (929_589, 73_760, 82_430), 10_000),
        ("wikitext2", "word", (2_088_628, 217_646, 245_569), 33_278),
        ("ptb_char", "char", (5_017_483, 393_043, 442_424), 50),
    ],
)
def test_published_counts(real_data, name, level, counts, num_tokens):
    corpus = load_corpus(name, "", level, "all", 0, "")
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == counts
    assert len(corpus.vocabulary) == num_tokens
    assert corpus.train.max() < num_tokens
    # These corpora are closed: train alone has every token.
    of_train = load_corpus(name, "", level, "train", 0, "").vocabulary
    assert {*of_train.tokens} == {*corpus.vocabulary.tokens, UNK}
