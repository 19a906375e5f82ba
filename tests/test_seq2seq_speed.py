"""The workers of seq2seq_speed.py at tiny sizes, and PyTorch's side where it is."""

import copy

import jax
import numpy as np
import pytest

from experiments import seq2seq_speed
from experiments.seq2seq_cases import CASES, make_texts, measure

TINY = {"vocab_size": 11, "batch_size": 3, "source_length": 4, "target_length": 5}


def shrink(case):
    tiny = copy.deepcopy(CASES[case]) | TINY
    tiny["model"].update(embed_dim=3, hidden_dim=4)
    return tiny


def run_ours(case, tmp_path):
    runs = seq2seq_speed.make_runs(case, str(tmp_path / "params.npz"))
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        return measure(*runs, num_runs=1)


def test_our_side_runs(tmp_path):
    answer = run_ours(shrink("dates"), tmp_path)
    assert answer["first"][0][0] == pytest.approx(np.log(11), rel=0.1)
    assert answer["first"][2][0] < answer["first"][0][0]
    assert answer["decoded"] > -answer["first"][0][0]
    assert min(answer["step"]) > 0


@pytest.mark.parametrize("case", CASES)
def test_both_sides_do_the_same(case, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from experiments import seq2seq_torch

    tiny = shrink(case)
    ours = run_ours(tiny, tmp_path)
    params = {n: torch.from_numpy(a) for n, a in np.load(tmp_path / "params.npz").items()}
    theirs = measure(*seq2seq_torch.make_runs(tiny, params), num_runs=1)
    seq2seq_speed.compare(ours, theirs)


def test_another_answer_is_found():
    answer = {"first": [(2.0, 1.0)], "decoded": -1.0}
    seq2seq_speed.compare(answer, answer)
    with pytest.raises(ArithmeticError, match="decoded: -1"):
        seq2seq_speed.compare(answer, answer | {"decoded": -1.001})


def test_texts_have_no_padding():
    texts = make_texts(TINY)
    assert texts.sources.shape == (4, 3) and texts.targets.shape == (5, 3)
    assert texts.sources.all() and texts.targets[:-1].all() and not texts.targets[-1].any()
    np.testing.assert_array_equal(texts.inputs[1:], texts.targets[:-1])
