import jax
import numpy as np

from awd_jax.interchange.params import flat_shapes, flatten_params, move_rows, unflatten_params
from awd_jax.models.awd_lstm import AWDLSTM

MODEL = AWDLSTM(vocab_size=5, embed_dim=3, hidden_dim=4, num_layers=2)


def test_names_and_shapes_are_those_of_the_model():
    params = MODEL.init_params(jax.random.key(0))
    flat = flatten_params(params)
    assert {n: a.shape for n, a in flat.items()} == {
        n: a.shape for n, a in flat_shapes(MODEL).items()
    }
    assert {"embedding", "softmax_bias", "lstm_1.w_x"} < flat.keys()
    jax.tree.map(np.testing.assert_array_equal, unflatten_params(flat), params)


def test_rows_move_to_the_ids_of_another_vocabulary():
    flat = {
        "embedding": np.arange(8, dtype=np.float32).reshape(4, 2),
        "softmax_bias": np.array([1, 2, 3, 6], np.float32),
        "lstm_0.w_h": np.ones((4, 4), np.float32),
    }
    moved, num_new = move_rows(flat, ["a", "b", "c", "d"], ["d", "new", "a"])
    assert num_new == 1
    np.testing.assert_array_equal(moved["embedding"], [[6, 7], [3, 4], [0, 1]])
    np.testing.assert_array_equal(moved["softmax_bias"], [6, 3, 1])
    assert moved["lstm_0.w_h"] is flat["lstm_0.w_h"]
    assert {a.dtype for a in moved.values()} == {np.dtype(np.float32)}
