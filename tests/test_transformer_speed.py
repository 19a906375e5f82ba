"""The workers of transformer_speed.py at tiny sizes, and PyTorch's side where it is."""

import jax
import numpy as np
import pytest

from experiments import transformer_speed
from experiments.transformer_cases import CASES, NUM_CHECKED

TINY = {"embed_dim": 8, "num_layers": 2, "num_heads": 2, "head_dim": 3, "inner_dim": 12}
TINY |= {"bptt": 8, "batch_size": 3}
TINY_CASES = {
    "plain": CASES["small plain"] | TINY,
    "relative": CASES["small"] | TINY | {"memory_length": 11},
}


@pytest.mark.parametrize("case", TINY_CASES)
def test_both_sides_train_alike(case, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from experiments import transformer_torch

    step = transformer_speed.training(TINY_CASES[case], str(tmp_path / "params.npz"))
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        ours = [step() for _ in range(NUM_CHECKED)]
    params = {n: torch.from_numpy(a) for n, a in np.load(tmp_path / "params.npz").items()}
    other_step = transformer_torch.training(TINY_CASES[case], params, False)
    transformer_speed.check_equal(ours, [other_step() for _ in range(NUM_CHECKED)])


def test_another_loss_is_found():
    transformer_speed.check_equal([(2.0, 1.0)], [(2.0001, 1.0)])
    with pytest.raises(ArithmeticError, match="step 0: loss 2"):
        transformer_speed.check_equal([(2.0, 1.0)], [(2.001, 1.0)])


@pytest.mark.parametrize("case", TINY_CASES)
def test_our_side_runs(case, tmp_path, monkeypatch):
    monkeypatch.setitem(CASES, case, TINY_CASES[case])
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        answer = transformer_speed.train(case, str(tmp_path / "params.npz"), "1")
    assert answer["first"][0][0] == pytest.approx(np.log(10_000), rel=0.05)
    assert answer["ms"] > 0


def test_costs_of_attention(monkeypatch):
    from awd_jax.core import attention

    monkeypatch.setattr(attention, "BLOCK_SCORES", attention.BLOCK_SCORES)  # put back after it
    monkeypatch.setitem(transformer_speed.SHAPES, "tiny", (64, 64, 3, 2, 4))
    in_blocks = transformer_speed.blocks("tiny", "12", "1")
    jax.clear_caches()
    whole = transformer_speed.blocks("tiny", "62", "1")
    assert in_blocks[1] < whole[1]  # MiB, forward
    assert all(transformer_speed.kernel("tiny", name, "1") for name in transformer_speed.KERNELS)
