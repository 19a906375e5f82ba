import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awd_jax.data import text as text_module
from awd_jax.data.text import (
    LEVELS,
    Text,
    count_tokens,
    encode_text,
    file_text,
    lines_tokens,
    spelled_blocks,
    string_text,
    text_lines,
)
from awd_jax.data.vocabulary import EOS, UNK, Vocabulary
from awd_jax.errors import InputError
from tests.encoded import whole_ids

# All characters that some rule might take for a line end or a blank, and a few others.
STRANGE = st.text(
    st.sampled_from("\n\n  ab_é\r\t\v\f\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000\ufeff中")
)


def tokens_of(string: str, level: str) -> list[str]:
    text = string_text("a text", level, string)
    vocabulary = Vocabulary.from_counts(count_tokens(text))
    return vocabulary.decode(whole_ids(text, vocabulary))


def word_tokens(string: str) -> list[str]:
    """The rule, written out."""
    lines = string.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [token for line in lines for token in [*line.split(), EOS]]


def char_tokens(string: str) -> list[str]:
    """The rule, written out."""
    lines = string.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    spelled = [["_" if char.isspace() else char for char in line.strip()] for line in lines]
    return [token for line in spelled for token in [*line, EOS]]


def byte_tokens(string: str) -> list[str]:
    """The rule, written out."""
    return [EOS if byte == 10 else str(byte) for byte in string.encode() + b"\n"]


RULES = {"word": word_tokens, "char": char_tokens, "byte": byte_tokens}


@pytest.mark.parametrize("level", LEVELS)
@given(string=STRANGE)
def test_tokens_follow_the_rule_and_round_trip(level, string):
    expected = RULES[level](string)
    if set(expected) <= {EOS}:
        with pytest.raises(InputError, match="a text: is empty or blank"):
            tokens_of(string, level)
    else:
        assert tokens_of(string, level) == expected


def test_examples():
    assert tokens_of("a  b\n\n c", "word") == ["a", "b", EOS, EOS, "c", EOS]
    assert tokens_of("a  b\n\n c\n", "word") == ["a", "b", EOS, EOS, "c", EOS]
    assert tokens_of(" a b \nc\n", "char") == ["a", "_", "b", EOS, "c", EOS, EOS]
    assert tokens_of("a\nÿ\n", "byte") == ["97", EOS, "195", "191", EOS, EOS]
    assert tokens_of("\ufeffa\r\nb", "word") == ["a", EOS, "b", EOS]
    assert tokens_of("a\u2028b\x0cc\n", "word") == ["a", "b", "c", EOS]


@pytest.mark.parametrize("level", LEVELS)
@given(lines=st.lists(STRANGE.map(lambda s: s + "\n"), min_size=1), last=STRANGE)
def test_blocks_do_not_show(level, lines, last):
    whole = string_text("a text", level, "".join(lines) + last)
    cut = Text("a text", level, lambda: iter([part.encode() for part in (*lines, last) if part]))
    counts = count_tokens(whole)
    assert list(count_tokens(cut).items()) == list(counts.items())
    if set(counts) > {EOS}:
        vocabulary = Vocabulary.from_counts(counts)
        assert (whole_ids(cut, vocabulary) == whole_ids(whole, vocabulary)).all()


@given(STRANGE.map(lambda string: string.replace("\ufeff", "")))
def test_words_of_the_spelled_text_are_the_characters(string):
    text = string_text("a text", "char", string)
    spelled = Text("spelled", "word", lambda: spelled_blocks(text))
    assert count_tokens(spelled) == count_tokens(text)
    assert word_tokens(b"".join(spelled_blocks(text)).decode()) == char_tokens(string)


@pytest.mark.parametrize("level", LEVELS)
@given(st.data())
def test_any_bytes_are_read_or_refused(level, data):
    body = data.draw(st.binary())
    text = Text("a text", level, lambda: iter([body]))
    try:
        vocabulary = Vocabulary.from_counts(count_tokens(text))
        ids = whole_ids(text, vocabulary)
    except InputError as error:
        assert str(error).startswith("a text")
        assert "\n" not in str(error)
    else:
        tokens = vocabulary.decode(ids)
        if level == "byte":
            raw = bytes(10 if token == EOS else int(token) for token in tokens)
            assert raw == body + b"\n"


@given(
    body=st.binary(min_size=1),
    block=st.integers(1, 9),
    cut=st.tuples(st.integers(0), st.integers(0)),
)
def test_a_file_is_read_whole_in_blocks_of_whole_lines(body, block, cut):
    start = cut[0] % len(body)
    stop = start + 1 + cut[1] % (len(body) - start)
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "BLOCK_BYTES", block)
        path = Path(directory, "text")
        path.write_bytes(body)
        for text, expected in (
            (file_text(path, "byte"), body),
            (file_text(path, "byte", start, stop), body[start:stop]),
        ):
            blocks = list(text.blocks())
            assert b"".join(blocks) == expected
            assert all(part.endswith(b"\n") for part in blocks[:-1])
            assert all(blocks)


def test_tokens_outside_become_unk_and_are_counted():
    vocabulary = Vocabulary(("a", EOS, UNK))
    text = Text("t", "word", lambda: iter([b"a x\n", f"{UNK} y a".encode()]))
    assert whole_ids(text, vocabulary).tolist() == [0, 2, 1, 2, 2, 0, 1]
    assert [block.num_outside for block in encode_text(text, vocabulary)] == [1, 1, 0]


def test_without_unk_the_first_tokens_outside_are_named_with_their_lines():
    vocabulary = Vocabulary(("a", EOS))
    text = Text("t.txt", "char", lambda: iter([b"a\r\n", b"ax\n", b"\nyz\nw\n"]))
    with pytest.raises(InputError) as caught:
        whole_ids(text, vocabulary)
    assert "t.txt: 'x' (line 2), 'y' (line 4), 'z' (line 4):" in str(caught.value)
    raw = Text("t", "byte", lambda: iter([b"a\n\n", b"a\nab\n"]))
    with pytest.raises(InputError, match=r"t: '98' \(line 4\):"):
        whole_ids(raw, Vocabulary(("97", EOS)))


def test_bytes_that_are_not_utf8_are_named_with_path_and_line(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeffa\nb\n".encode() + b"c \xff d\n")
    for level in ("word", "char"):
        with pytest.raises(InputError, match=r"train.txt, line 3: byte 0xff"):
            count_tokens(file_text(path, level))
    assert count_tokens(file_text(path, "byte"))["255"] == 1
    second = Text("t", "word", lambda: iter([b"a\nb\n", b"\xc3\n"]))
    with pytest.raises(InputError, match="t, line 3: byte 0xc3"):
        count_tokens(second)


@given(STRANGE)
def test_lines_are_the_tokens_of_the_text(string):
    for level in LEVELS:
        for body in ("x" + string, "\ufeffx" + string):
            lines = [[*line, EOS] for line in text_lines(string_text("a text", level, body))]
            extra = [EOS] * (level != "word" and body.endswith("\n"))
            assert [token for line in lines for token in line] + extra == tokens_of(body, level)
            assert len(lines) == body.removesuffix("\n").count("\n") + 1


@pytest.mark.parametrize("level", LEVELS)
def test_lines_are_the_same_however_a_file_is_cut_into_blocks(level, tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_bytes("ab c\r\n\nd\n\n\n中 e\nf".encode())
    whole = list(text_lines(file_text(path, level)))
    assert len(whole) == 7
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(text_module, "BLOCK_BYTES", size)
        assert list(text_lines(file_text(path, level))) == whole


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_that_cannot_be_read_is_named(level, tmp_path):
    with pytest.raises(InputError, match=r"nothing.txt: cannot be read \(No such file"):
        count_tokens(file_text(tmp_path / "nothing.txt", level))
    with pytest.raises(InputError, match=rf"{tmp_path}: cannot be read \(Is a directory"):
        count_tokens(file_text(tmp_path, level))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"empty.txt: is empty"):
        count_tokens(file_text(tmp_path / "empty.txt", level))


def test_a_pipe_is_no_corpus(tmp_path):
    """Opening it would block, and a corpus is read twice: counted, then encoded."""
    os.mkfifo(tmp_path / "train.txt")
    with pytest.raises(InputError, match=r"train.txt: is not a regular file"):
        count_tokens(file_text(tmp_path / "train.txt", "word"))


def test_a_file_shorter_than_its_part_is_refused(tmp_path):
    path = tmp_path / "enwik8"
    path.write_bytes(b"12345")
    with pytest.raises(InputError, match="has 5 bytes, not 6"):
        count_tokens(file_text(path, "byte", 0, 6))


@pytest.mark.parametrize("body", ["", "\n", " \n\n", "\ufeff", "\u3000\r\n"])
def test_an_empty_or_blank_text_is_refused(body):
    for level in ("word", "char"):
        with pytest.raises(InputError, match="t: is empty or blank"):
            tokens_of_named("t", body, level)


def tokens_of_named(name: str, body: str, level: str):
    text = string_text(name, level, body)
    return whole_ids(text, Vocabulary.from_counts(count_tokens(text)))


@pytest.mark.parametrize("level", ["word", "char", "byte"])
def test_tokens_of_lines_are_those_of_a_text(level):
    lines = ["a b", " né\t", "", "c\x0c\u2028d"]
    text = string_text("x", level, "\n".join(lines))
    expected = [token for tokens in text_lines(text) for token in (*tokens, EOS)]
    assert lines_tokens(lines, level) == expected
