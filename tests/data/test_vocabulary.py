import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awd_jax.data.vocabulary import EOS, UNK, Vocabulary
from awd_jax.errors import InputError


def test_frequent_tokens_come_first_and_ties_by_first_appearance():
    counts = Counter(["b", EOS, "a", "c", "c", "b", "d"])
    assert Vocabulary.from_counts(counts).tokens == ("b", "c", EOS, "a", "d")


@given(st.lists(st.text(), unique=True))
def test_it_is_rebuilt_from_json_and_round_trips(words):
    vocabulary = Vocabulary(tuple(dict.fromkeys([*words, EOS])))
    rebuilt = Vocabulary(tuple(json.loads(json.dumps(vocabulary.tokens))))
    assert rebuilt == vocabulary
    ids = vocabulary.encode(vocabulary.tokens)
    assert ids.tolist() == list(range(len(vocabulary)))
    assert vocabulary.decode(ids) == list(vocabulary.tokens)


def test_tokens_outside_become_unk():
    vocabulary = Vocabulary(("a", EOS, UNK))
    assert (vocabulary.eos_id, vocabulary.unk_id) == (1, 2)
    assert vocabulary.encode(["x", "a", UNK]).tolist() == [2, 0, 2]


def test_without_unk_a_token_outside_is_refused_by_name():
    vocabulary = Vocabulary(("a", EOS))
    assert vocabulary.unk_id is None
    assert vocabulary.encode(["a", EOS]).tolist() == [0, 1]
    with pytest.raises(InputError, match=r"'x'.* 2 tokens"):
        vocabulary.encode(["a", "x"])


def test_outside_ids_are_replaced_in_place_and_counted():
    ids = np.array([0, -1, 1, -1], np.int32)
    assert Vocabulary(("a", EOS, UNK)).replace_outside(ids, refuse) == 2
    assert ids.tolist() == [0, 2, 1, 2]
    with pytest.raises(InputError, match="index 1:"):
        Vocabulary(("a", EOS)).replace_outside(np.array([0, -1, -1], np.int32), refuse)


def refuse(index: int) -> InputError:
    return InputError(f"index {index}", "is outside", "remove it")


@pytest.mark.parametrize(("tokens", "message"), [(("a", EOS, "a"), "'a'"), (("a",), EOS)])
def test_a_wrong_list_is_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        Vocabulary(tokens)


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        Vocabulary((EOS,)).tokens = ()
