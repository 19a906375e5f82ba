import jax
import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.interchange.params import (
    check_params,
    flat_shapes,
    flatten_params,
    move_rows,
    unflatten_params,
)
from awd_jax.models.recurrent import RecurrentLM

MODEL = RecurrentLM(vocab_size=5, embed_dim=3, hidden_dim=4, num_layers=2)


def test_names_and_shapes_are_those_of_the_model():
    params = MODEL.init_params(jax.random.key(0))
    flat = flatten_params(params)
    assert {n: a.shape for n, a in flat.items()} == {
        n: a.shape for n, a in flat_shapes(MODEL).items()
    }
    assert {"embedding", "softmax.bias", "lstm_1.w_x"} < flat.keys()
    jax.tree.map(np.testing.assert_array_equal, unflatten_params(flat), params)


def test_rows_move_to_the_ids_of_another_vocabulary():
    flat = {
        "embedding": np.arange(8, dtype=np.float32).reshape(4, 2),
        "softmax.bias": np.array([1, 2, 3, 6], np.float32),
        "lstm_0.w_h": np.ones((4, 4), np.float32),
    }
    rows = ("embedding", "softmax.bias")
    moved, num_new = move_rows(flat, rows, ["a", "b", "c", "d"], ["d", "new", "a"])
    assert num_new == 1
    np.testing.assert_array_equal(moved["embedding"], [[6, 7], [3, 4], [0, 1]])
    np.testing.assert_array_equal(moved["softmax.bias"], [6, 3, 1])
    assert moved["lstm_0.w_h"] is flat["lstm_0.w_h"]
    assert {a.dtype for a in moved.values()} == {np.dtype(np.float32)}


def test_rows_are_those_that_the_model_names():
    flat = {"a": np.arange(4, dtype=np.float32), "b": np.arange(4, dtype=np.float32)}
    moved, _ = move_rows(flat, ("b",), ["x", "y", "z", "w"], ["w"])
    assert moved["a"] is flat["a"]
    np.testing.assert_array_equal(moved["b"], [3])


BROKEN = {
    "missing": (lambda p: p.pop("lstm_1.b_x"), r"here: lstm_1.b_x: is missing"),
    "too many": (lambda p: p.update(b=np.zeros(3)), r"here: b: is not a parameter of this model"),
    "another shape": (
        lambda p: p.update({"embedding": np.zeros((5, 4))}),
        r"here: theirs \(here embedding\) has shape \[5, 4\]: must be \[5, 3\]",
    ),
    "a scalar": (lambda p: p.update({"embedding": np.zeros(())}), r"has shape \[\]: must be"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_arrays_of_another_model_are_refused_in_one_line(what):
    break_it, told = BROKEN[what]
    expected = flat_shapes(MODEL)
    flat = {name: np.zeros(leaf.shape, np.float32) for name, leaf in expected.items()}
    names = {"embedding": "theirs"}
    check_params("here", flat, expected, names)
    break_it(flat)
    with pytest.raises(InputError, match=told) as error:
        check_params("here", flat, expected, names)
    assert "\n" not in str(error.value)
