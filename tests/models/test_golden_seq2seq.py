"""Sequence to sequence against PyTorch: experiments/make_golden_seq2seq.py writes the file."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.batches import Counts, Pair
from awd_jax.interchange.params import flat_shapes, flatten_params, unflatten_params
from awd_jax.models import scoring
from awd_jax.models.seq2seq import Seq2Seq
from awd_jax.train.optimizer import make_optimizer
from configs import default

PATH = Path(__file__).with_name("golden_seq2seq.npz")
CASES = ("both_ways", "reversed", "fed", "deep", "peeky")
PARAMS, GRADS, AFTER = range(3)  # of the first axis of what is learned


class Golden:
    """The arrays of one case, floats in one dtype, and our model of it."""

    def __init__(self, case, dtype, rtol):
        def convert(x):
            return jnp.asarray(x, dtype if x.dtype == np.float32 else x.dtype)

        with np.load(PATH) as file:
            fields = json.loads(str(file[f"{case}/fields"]))
            own = [n for n in file if "/" not in n or n.startswith(f"{case}/")]
            numbers = (n for n in own if not n.endswith("/fields"))
            self.arrays = {n.removeprefix(f"{case}/"): convert(file[n]) for n in numbers}
        self.model, self.rtol = Seq2Seq(**fields), rtol
        weights = self["weights"]
        counts = Counts(jnp.sum(weights), jnp.sum(weights[1:]))
        names = ("sources", "source_weights", "inputs", "targets", "weights")
        self.pair = Pair(*(self[name] for name in names), counts)

    def __getitem__(self, name):
        return self.arrays[name]

    def learned(self, which):
        """All parameters, their gradients, or the parameters after a step, under flat names."""
        start = "learned."
        found = {n.removeprefix(start): x for n, x in self.arrays.items() if n.startswith(start)}
        return {name: x[which] for name, x in found.items()}

    def assert_close(self, actual, desired, rtol=None):
        def close(a, d):
            rtol_ = rtol or self.rtol
            assert a.dtype == d.dtype and a.shape == d.shape
            np.testing.assert_allclose(a, d, rtol_, atol=0.1 * rtol_ * np.abs(d).max())

        jax.tree.map(close, actual, desired)


@pytest.mark.parametrize("case", CASES)
def test_training(case):
    """Log-probabilities, attention, loss, gradients, and a step with clipped gradients."""
    with jax.enable_x64():
        golden = Golden(case, jnp.float64, rtol=2e-7)  # the numbers of the file are float32
        model, pair = golden.model, golden.pair
        shapes = {name: x.shape for name, x in flat_shapes(model).items()}
        assert shapes == {name: x.shape for name, x in golden.learned(PARAMS).items()}
        config = default.get_config().optimizer
        config.update(averaging=False, weight_decay=0.0)
        config.max_grad_norm = float(golden["max_grad_norm"])
        optimizer = make_optimizer(config)

        def mean_nll(params):
            # As model.score, but with the attention in the place of the carry.
            score = scoring.score(model, params, pair, None, lambda bound: bound.run(pair))
            return score.nll / pair.counts.tokens, score

        @jax.jit
        def step(params):
            (_, score), grads = jax.value_and_grad(mean_nll, has_aux=True)(params)
            rate = golden["learning_rate"]
            updates, _ = optimizer.update(grads, optimizer.init(params), params, learning_rate=rate)
            features = score.features, score.carry
            log_probs, alignment = scoring.log_probs(model, params, lambda bound: features)
            after = optax.apply_updates(params, updates)
            return log_probs, alignment, score.nll, grads, after

        log_probs, alignment, nll, grads, after = step(unflatten_params(golden.learned(PARAMS)))
        is_real = pair.weights[:, :, None]
        golden.assert_close(log_probs * is_real, golden["log_probs"])
        golden.assert_close(alignment * is_real, golden["alignment"])
        golden.assert_close(nll, golden["nll"])
        golden.assert_close(flatten_params(grads), golden.learned(GRADS))
        golden.assert_close(optax.tree.norm(grads), golden["grad_norm"])
        # Torch's clipping divides by norm + 1e-6.
        golden.assert_close(flatten_params(after), golden.learned(AFTER), rtol=1e-6)


@pytest.mark.parametrize("case", ["reversed", "fed", "deep"])
def test_writing(case):
    """Token by token, each step from the carry of the one before it."""
    golden = Golden(case, jnp.float32, rtol=1e-5)
    model, pair = golden.model, golden.pair
    params = unflatten_params(golden.learned(PARAMS))
    step = jax.jit(model.log_probs)
    carry = jax.jit(model.read)(params, pair.sources, pair.source_weights)
    had = np.zeros_like(golden["alignment"][0])
    for t, weights in enumerate(np.asarray(pair.weights)[:, :, None]):
        log_probs, carry = step(params, pair.inputs[t : t + 1], carry)
        golden.assert_close(log_probs[0] * weights, golden["log_probs"][t])
        had += golden["alignment"][t]
        golden.assert_close(model.attended(carry)[0], jnp.asarray(had[0]))  # all steps are real
