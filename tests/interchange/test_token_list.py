import json
import pickle

import pytest

from awd_jax.errors import InputError
from awd_jax.interchange.token_list import number_padding, read_tokens, rename_token


def test_a_json_list_may_hold_any_token(tmp_path):
    tokens = ["<eos>", "\n", "", "a b", "é"]
    (tmp_path / "v.json").write_text(json.dumps(tokens))
    assert read_tokens(tmp_path / "v.json") == tuple(tokens)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_text_file_has_one_token_a_line(end, tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("<eos>\nline\u2028separator\n\x0c\né" + end, encoding="utf-8")
    assert read_tokens(path) == ("<eos>", "line\u2028separator", "\x0c", "é")


@pytest.mark.parametrize("name", ["v.json", "v.txt"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_tokens(name, tmp_path):
    text = json.dumps(["<eos>", "a"]) if name == "v.json" else "<eos>\r\na\r\n"
    (tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    assert read_tokens(tmp_path / name) == ("<eos>", "a")


def test_a_json_list_needs_no_name(tmp_path):
    """As the shell's <(command) gives it."""
    (tmp_path / "63").write_text('["<eos>", "a"]\n')
    assert read_tokens(tmp_path / "63") == ("<eos>", "a")
    (tmp_path / "v.txt").write_text("[\n<eos>\n]\n")
    assert read_tokens(tmp_path / "v.txt") == ("[", "<eos>", "]")


def test_a_number_after_a_blank_is_no_count_unless_every_line_has_one(tmp_path):
    (tmp_path / "v.txt").write_text("<eos>\nno 1\n")
    assert read_tokens(tmp_path / "v.txt") == ("<eos>", "no 1")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


BAD_FILES = {
    "v.pkl": (pickle.dumps([Bomb()]), "json.dump"),
    "vocab.bin": (pickle.dumps({"idx2sym": [Bomb()]}, protocol=2), "not UTF-8; .*vocab.idx2sym"),
    "blank.txt": (b"a\n\nb\n", "line 2: is blank"),
    "uniq.txt": (b"   5012 the\n     99 <eos>\n", "is a token and its count; keep"),
    "counts.txt": (b"the 5012\n<eos> 99\na\t7\n", "'the 5012' is a token and its count; keep"),
    "latin.txt": ("<eos>\né\n".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8"),
    "cut.json": (b'["a", ', "is not JSON"),
    "dict.json": (b'{"a": 1}', "must be a JSON list"),
    "numbers.json": (b"[1, 2]", "must be a JSON list"),
    "missing.json": (None, "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_and_never_unpickled(name, tmp_path):
    content, told = BAD_FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told) as error:
        tokens = read_tokens(tmp_path / name)
        pytest.fail(f"read {tokens}")
    assert "\n" not in str(error.value)


def test_tokens_are_renamed_by_the_first_candidate_that_is_there():
    assert rename_token(("xxbos", "a"), ("<eos>", "xxbos"), "<eos>") == ("<eos>", "a")
    assert rename_token(("xxbos", "<eos>"), ("<eos>", "xxbos"), "<eos>") == ("xxbos", "<eos>")
    assert rename_token(("a",), ("xxunk",), "<unk>") == ("a",)


def test_the_padding_of_fastai_is_told_apart():
    assert number_padding(("a", "xxfake", "xxfake", "a")) == ("a", "xxfake", "xxfake_1", "a")
