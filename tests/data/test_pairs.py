import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awd_jax.data.exercises import EXERCISES
from awd_jax.data.pairs import NAMES, Ragged, load_pairs
from awd_jax.data.vocabulary import EOS, UNK
from awd_jax.errors import InputError

SOUND = b"a b\tx\nb\tx y\n"


@pytest.fixture
def mine(tmp_path):
    """Writes a directory of files, those of the splits not given being sound; returns it."""

    def write(**files: bytes) -> str:
        directory = tmp_path / "mine"
        directory.mkdir(exist_ok=True)
        for split in ("train", "valid", "test"):
            if not any(name.startswith(split) for name in files):
                (directory / f"{split}.tsv").write_bytes(SOUND)
        for name, content in files.items():
            (directory / name.replace("_", ".")).write_bytes(content)
        return str(directory)

    return write


def load(
    directory,
    name="pairs",
    source_level="word",
    level="word",
    is_shared=False,
    max_length=0,
    faults="refuse",
    source_length=0,
    seed=0,
):
    levels = (source_level, level, is_shared)
    return load_pairs(name, directory, *levels, max_length, faults, source_length, seed)


def words(ragged, vocabulary):
    return [" ".join(vocabulary.decode(ragged[i].tolist())) for i in range(len(ragged))]


def lines(corpus, split="train"):
    pairs = getattr(corpus, split)
    return list(
        zip(
            words(pairs.sources, corpus.source_vocabulary),
            words(pairs.targets, corpus.vocabulary),
            strict=True,
        )
    )


# ---- vocabularies and ids ----


def test_each_side_has_its_vocabulary_by_frequency(mine):
    corpus = load(mine(train_tsv=b"b a\tx\nb\ty y y\nb\ty\n"))
    assert corpus.source_vocabulary.tokens == ("b", EOS, "a", UNK)
    assert corpus.vocabulary.tokens == ("y", EOS, "x", UNK)
    assert lines(corpus) == [("b a", "x"), ("b", "y y y"), ("b", "y")]
    assert corpus.train.sources.ids.tolist() == [0, 2, 0, 0]
    assert corpus.train.sources.ends.tolist() == [2, 3, 4]
    assert corpus.train.targets.lengths.tolist() == [1, 3, 1]
    assert len(corpus.train) == 3
    assert corpus.name == "pairs"


def test_tokens_that_train_lacks_are_unk_and_counted(mine):
    corpus = load(mine(valid_tsv=b"a q\tx\nz b\tx x w\n", test_tsv=f"a\t{UNK}\n".encode()))
    assert lines(corpus, "valid") == [(f"a {UNK}", "x"), (f"{UNK} b", f"x x {UNK}")]
    assert corpus.notes == (
        "valid: 2 of 4 tokens of sources outside the vocabulary read as <unk>",
        "valid: 1 of 4 tokens of targets outside the vocabulary read as <unk>",
    )


def test_a_shared_vocabulary_is_counted_over_both_sides(mine):
    corpus = load(mine(train_tsv=b"a b\tb c\nb\tc\n"), is_shared=True)
    assert corpus.source_vocabulary is corpus.vocabulary
    assert corpus.vocabulary.tokens == (EOS, "b", "c", "a", UNK)
    assert lines(corpus) == [("a b", "b c"), ("b", "c")]


def test_each_side_has_its_level(mine):
    corpus = load(mine(train_tsv="né  e\tx y\n".encode()), source_level="char", level="byte")
    assert lines(corpus) == [("n é _ _ e", "120 32 121")]
    corpus = load(mine(train_tsv="né e\t x y \n".encode()), source_level="byte", level="char")
    assert lines(corpus) == [("110 195 169 32 101", "x _ y")]


def test_ids_cannot_be_changed(mine):
    corpus = load(mine())
    for ragged in (corpus.train.sources, corpus.test.targets):
        for array in (ragged.ids, ragged.ends, ragged[0]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5))
def test_ragged_gives_its_sequences_back(rows):
    ragged = Ragged.of([np.array(row, np.int32) for row in rows])
    assert [ragged[i].tolist() for i in range(len(ragged))] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]


def test_ends_of_lines_and_marks_are_no_content(mine):
    plain = load(mine())
    for content in (
        b"a b\tx\r\nb\tx y\r\n",
        b"a b\tx\nb\tx y",
        b"\xef\xbb\xbf" + SOUND,
        SOUND + b"\n\r\n",
    ):
        for level in ("word", "char", "byte"):
            directory = mine(train_tsv=content)
            corpus = load(directory, source_level=level, level=level)
            expected = load(mine(train_tsv=SOUND), source_level=level, level=level)
            assert lines(corpus) == lines(expected)
    assert lines(plain) == [("a b", "x"), ("b", "x y")]


def test_only_a_newline_ends_a_line(mine):
    content = "a\x0cb\u2028c\x85d\re\tx\n".encode()
    assert lines(load(mine(train_tsv=content))) == [("a b c d e", "x")]


def test_parallel_files(mine):
    directory = mine(train_source=b"a b\r\nb\n", train_target=b"\xef\xbb\xbfx\nx\ty")
    assert lines(load(directory)) == [("a b", "x"), ("b", "x y")]


def test_a_tsv_file_is_read_before_parallel_ones(mine):
    directory = mine(train_source=b"q\n", train_target=b"q\n", train_tsv=SOUND)
    assert lines(load(directory)) == [("a b", "x"), ("b", "x y")]


FAULTS = {
    "no tab": b"ab\n",
    "more than one tab": b"a\tb\tc\n",
    "a blank source": b" \tx\n",
    "a blank target": b"a\t \n",
    "a source of more than 2 tokens": b"a a a\tx\n",
    "a target of more than 2 tokens": b"a\tx x x\n",
    "<eos> in its target": b"a\tx <eos>\n",
}


@pytest.mark.parametrize(("what", "line"), [*FAULTS.items(), ("no tab", b"\n")])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_fault_is_refused_with_its_file_and_line(what, line, split, mine):
    if "more than 2" in what and split != "train":
        assert len(load(mine(**{f"{split}_tsv": line}), max_length=2).train)  # any length is fine
        return
    directory = mine(**{f"{split}_tsv": b"a\tx\n" + line + SOUND})
    message = rf"mine/{split}.tsv, line 2: has {what}; .*--config.data.faults=skip$"
    with pytest.raises(InputError, match=message):
        load(directory, max_length=2)


def test_faults_are_skipped_and_counted_by_kind(mine):
    content = b"".join(FAULTS.values()) + SOUND + b"\nab\n"
    corpus = load(mine(train_tsv=content), max_length=2, faults="skip")
    assert lines(corpus, "train") == [("a b", "x"), ("b", "x y")]
    assert corpus.notes[:1] == (
        "train: 9 of 11 lines skipped: 3 with no tab, 1 with more than one tab, "
        "1 with a blank source, 1 with a blank target, 1 with a source of more than 2 tokens, "
        "1 with a target of more than 2 tokens, 1 with <eos> in its target",
    )


def test_skipped_lines_leave_nothing_in_the_vocabulary(mine):
    corpus = load(mine(train_tsv=SOUND + b"q\tq q q\n"), max_length=2, faults="skip")
    assert "q" not in corpus.source_vocabulary.ids


def test_parallel_lines_have_the_name_of_their_own_file(mine):
    directory = mine(train_source=b"a\nb\n", train_target=b"x\n \n")
    with pytest.raises(InputError, match=r"train\.target, line 2: has a blank target"):
        load(directory)
    directory = mine(train_source=b"a\n\n\nb\n", train_target=b"x\n\nx\nx\n")
    with pytest.raises(InputError, match=r"train\.source, line 2: has a blank source"):
        load(directory)
    corpus = load(directory, faults="skip")
    assert lines(corpus) == [("a", "x"), ("b", "x")]
    assert corpus.notes[0] == "train: 2 of 4 lines skipped: 2 with a blank source"


@pytest.mark.parametrize("faults", ["refuse", "skip"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train_source": b"a\nb\n", "train_target": b"x\n"}, "have 2 and 1 lines"),
        ({"train_source": b"a\n"}, "mine: lacks the pairs of train; .*train.target"),
        ({"train_tsv": b"a\tx\na\t\xff\n"}, r"train\.tsv, line 2: byte 0xff is not UTF-8"),
        ({"train_tsv": b""}, r"train\.tsv: is empty"),
        ({"train_tsv": b"\n\n"}, r"train\.tsv: has no pairs"),
        ({"train_tsv": b"\xef\xbb\xbf"}, r"train\.tsv: has no pairs"),
        ({"train_source": b"\n", "train_target": b"\n"}, r"train\.target: has no pairs"),
    ],
)
def test_damaged_files_are_always_refused(files, message, faults, mine):
    with pytest.raises(InputError, match=message):
        load(mine(**files), faults=faults)


def test_a_split_of_which_nothing_is_left_is_refused(mine):
    with pytest.raises(InputError, match=r"test\.tsv: has no pair left \(2 with no tab\)"):
        load(mine(test_tsv=b"a\nb\n"), faults="skip")


def test_what_is_no_file_is_refused(mine, tmp_path):
    directory = mine()
    (tmp_path / "mine/train.tsv").unlink()
    with pytest.raises(InputError, match=r"lacks the pairs of train; put train\.tsv, or "):
        load(directory)
    os.mkfifo(tmp_path / "mine/train.tsv")
    with pytest.raises(InputError, match="is not a regular file"):
        load(directory)
    (tmp_path / "mine/train.tsv").unlink()
    (tmp_path / "mine/train.tsv").mkdir()
    with pytest.raises(InputError, match=r"train\.tsv: cannot be read"):
        load(directory)


# ---- exercises ----


def test_an_exercise_is_generated_from_its_seed():
    corpus = load("", "addition", "char", "char", is_shared=True, seed=3)
    made = EXERCISES["addition"](3)
    for split in ("train", "valid", "test"):
        pairs, rows = getattr(corpus, split), getattr(made, split)
        for ragged, sides in zip(
            (pairs.sources, pairs.targets), zip(*rows, strict=True), strict=True
        ):
            assert "".join(corpus.vocabulary.decode(ragged.ids)) == "".join(sides)
            assert ragged.lengths.tolist() == list(map(len, sides))
    assert sorted(corpus.vocabulary.tokens) == sorted(["+", *"0123456789", EOS, UNK])
    assert (corpus.name, corpus.notes) == ("addition", ())


def test_a_given_directory_is_read_instead(mine):
    corpus = load(mine(), "addition")
    assert lines(corpus) == [("a b", "x"), ("b", "x y")]
    assert corpus.name == "pairs"


def test_an_exercise_has_a_longest_side_too():
    with pytest.raises(InputError, match="copy train, line 1: has a source of more than 3 tok"):
        load("", "copy", "char", "char", max_length=3)


# ---- arguments ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "subtraction"}, f'corpus "subtraction": is unknown; use {", ".join(NAMES)}'),
        ({"source_level": "words"}, 'source level "words": is unknown; use word, char, byte'),
        ({"level": "words"}, 'level "words": is unknown'),
        ({"faults": "ignore"}, 'faults "ignore": is unknown; use refuse, skip'),
        ({"is_shared": True, "level": "char"}, 'levels "word" and "char": cannot share'),
        ({"max_length": -1}, "max_length -1"),
        ({"directory": ""}, 'corpus "pairs": needs a directory'),
        ({"directory": "/nothing"}, "directory /nothing: does not exist"),
        ({"directory": "gs://bucket"}, "must be a path on this machine"),
        ({"name": "copy", "directory": "", "seed": -1}, "seed -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, mine):
    with pytest.raises(InputError, match=message):
        load(**({"directory": mine()} | arguments))


# ---- whatever a file has in it ----

pieces = st.sampled_from(
    [
        *(b"a", b"b", b"\t", b"\n", b"\r", b" ", b"\x0c", b"\x1c", b"\0", b"a\tb\n"),
        *(b"\xff", b"\xc3\xa9", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"<eos>", b"<unk>"),
    ]
)
levels = st.sampled_from(["word", "char", "byte"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(pieces, max_size=12).map(b"".join),
    levels,
    levels,
    st.sampled_from(["refuse", "skip"]),
    st.integers(0, 3),
    st.booleans(),
)
def test_any_file_is_a_corpus_or_an_error_in_one_line(
    mine, content, source_level, level, faults, max_length, is_train
):
    directory = mine(**{"train_tsv" if is_train else "test_tsv": content, "valid_tsv": SOUND})
    try:
        corpus = load(directory, "pairs", source_level, level, False, max_length, faults)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    for pairs in (corpus.train, corpus.valid, corpus.test):
        assert len(pairs) > 0
        for ragged, vocabulary in (
            (pairs.sources, corpus.source_vocabulary),
            (pairs.targets, corpus.vocabulary),
        ):
            assert len(ragged) == len(pairs)
            assert ragged.lengths.min() > 0
            assert ragged.ids.min() >= 0 and ragged.ids.max() < len(vocabulary)
            assert vocabulary.eos_id not in ragged.ids
            if max_length and pairs is corpus.train:
                assert ragged.lengths.max() <= max_length


def test_sources_are_filled_up_to_a_length(mine):
    corpus = load(mine(), source_length=2)
    assert lines(corpus) == [("a b", "x"), ("b <pad>", "x y")]
    assert "<pad>" not in corpus.vocabulary.ids
    assert lines(load(mine(), source_length=2, is_shared=True)) == lines(corpus)
    assert lines(load(mine(), source_length=1)) == [("a b", "x"), ("b", "x y")]  # longer ones stay
