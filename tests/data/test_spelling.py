import pytest
from hypothesis import given
from hypothesis import strategies as st

from awd_jax.data.spelling import Speller, spell
from awd_jax.data.text import LEVELS, string_text, text_lines
from awd_jax.data.vocabulary import EOS, PAD, UNK

LINES = st.lists(st.lists(st.sampled_from(["ab", "é", "中c", "d_"]), min_size=1), min_size=1)


@pytest.mark.parametrize("level", LEVELS)
@given(lines=LINES)
def test_a_text_comes_back_from_its_tokens(level, lines):
    string = "\n".join(" ".join(words) for words in lines)
    if level == "char":
        string = string.replace("_", "")  # stands for a blank there
    tokens = []
    for line in text_lines(string_text("a text", level, string)):
        tokens += [*line, EOS]
    assert spell(tokens, level) == string + "\n"


def test_bytes_of_a_character_give_it_with_the_last():
    speller = Speller("byte")
    assert [speller.spell(str(byte)) for byte in "é".encode()] == ["", "é"]
    assert spell(["195", EOS], "byte") == "\ufffd\n"
    assert spell(["97", UNK, "97"], "byte") == "a\ufffda"


def test_bytes_have_no_padding():
    assert spell(["97", PAD, "97"], "byte") == "a\ufffda"
