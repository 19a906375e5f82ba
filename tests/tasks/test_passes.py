import math

import numpy as np
import pytest

from awd_jax.data.windows import even_plan
from awd_jax.tasks.passes import blocks, nll_result, run_pass


@pytest.mark.parametrize(
    ("rows", "length", "num_windows"), [(2, 1, 2), (13, 3, 2), (14, 5, 1), (9, 8, 64)]
)
def test_blocks_hold_every_target_once_and_nothing_else(rows, length, num_windows):
    stream = np.arange(2 * rows, dtype=np.int32).reshape(rows, 2)
    inputs, targets = [], []
    for block in blocks(even_plan(stream, length), num_windows):
        assert block.inputs.shape == block.weights.shape
        assert block.inputs.size <= 2 * min(num_windows * length, 2 * (rows - 1))  # not the flags
        real = block.weights == 1
        assert (block.weights == real).all()
        inputs.append(block.inputs[real])
        targets.append(block.targets[real])
    np.testing.assert_array_equal(np.concatenate(inputs), stream[:-1].ravel())
    np.testing.assert_array_equal(np.concatenate(targets), stream[1:].ravel())


def test_a_pass_gives_the_mean_over_all_targets_of_each_model():
    plan = even_plan(np.arange(11, dtype=np.int32)[:, None], 2)

    def step(calls, block):
        total = (block.weights * block.targets).sum()
        return calls + 1, np.array([total, 2 * total])

    calls, scored = run_pass(step, 0, plan, num_windows=3, name="test")
    assert calls == 2
    np.testing.assert_array_equal(scored.nlls, [5.5, 11])
    assert scored.tokens_per_second == pytest.approx(10 / scored.seconds)


def test_a_perplexity_beyond_floats_is_infinite():
    assert nll_result(1000.0) == {"nll": 1000.0, "perplexity": math.inf}
    assert nll_result(0.0) == {"nll": 0.0, "perplexity": 1.0}
