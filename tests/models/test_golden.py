"""Against PyTorch, tensor by tensor. experiments/make_golden.py writes the file."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.batches import Counts, Window
from awd_jax.core import losses, masks
from awd_jax.core.gated import GatedParams
from awd_jax.core.lstm import LSTMState
from awd_jax.core.ntasgd import averaged_params, observe
from awd_jax.core.softmax import TiedParams, tied_logits
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.train.optimizer import make_optimizer
from configs import default

PATH = Path(__file__).with_name("golden_awd_lstm.npz")
NUM_LAYERS = 3
TORCH_NAMES = {"w_x": "weight_ih", "w_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
ALPHA, BETA = 2.0, 1.0


class Golden(NamedTuple):
    """Arrays of the file under torch's names, floats in one dtype."""

    arrays: dict
    rtol: float  # the float32 numbers of the file allow 1e-7; our own float32 arithmetic less

    def __getitem__(self, name):
        return self.arrays[name]

    def params(self, prefix):
        """Our tree; torch has its matrices transposed."""
        return {
            "embedding": self[f"{prefix}/embedding"],
            "softmax": {"bias": self[f"{prefix}/bias"]},
            **{
                f"lstm_{i}": {
                    ours: self[f"{prefix}/layers.{i}.{torchs}_l0"].T
                    for ours, torchs in TORCH_NAMES.items()
                }
                for i in range(NUM_LAYERS)
            },
        }

    def carry(self, prefix):
        return tuple(
            LSTMState(h=self[f"{prefix}/h.{i}"], c=self[f"{prefix}/c.{i}"])
            for i in range(NUM_LAYERS)
        )

    def masks(self):
        return masks.Masks(
            embedding=self["mask/embedding"],
            input=self["mask/input"],
            layers=tuple(
                masks.LayerMasks(
                    weights=GatedParams(None, self[f"mask/weight_hh.{i}"].T, None, None),
                    after=after,
                )
                for i, after in enumerate(
                    (*(self[f"mask/hidden.{i}"] for i in range(2)), self["mask/output"])
                )
            ),
        )

    def assert_close(self, actual, desired, rtol=None):
        def close(a, d):
            rtol_ = rtol or self.rtol
            assert a.dtype == d.dtype
            np.testing.assert_allclose(a, d, rtol_, atol=0.1 * rtol_ * np.abs(d).max())

        jax.tree.map(close, actual, desired)


@pytest.fixture(params=[jnp.float32, jnp.float64], ids=["float32", "float64"])
def golden(request):
    def convert(x):
        return jnp.asarray(x, request.param if x.dtype == np.float32 else x.dtype)

    with jax.enable_x64(request.param == jnp.float64), np.load(PATH) as file:
        rtol = 2e-7 if request.param == jnp.float64 else 1e-5
        yield Golden({name: convert(x) for name, x in file.items()}, rtol)


@pytest.fixture
def model(golden):
    vocab_size, embed_dim = golden["param/embedding"].shape
    return RecurrentLM(vocab_size, embed_dim, golden["step/carry/h.0"].shape[1], NUM_LAYERS)


def logits_of(params, features):
    own = TiedParams(params["softmax"]["bias"])
    return tied_logits(own, params["embedding"], features.dropped_hs)


def make_loss(model, drawn):
    """NLL + alpha AR + beta TAR of the first `length` steps, as `train.step` divides them."""

    def loss(params, carry, inputs, targets, length):
        steps = jnp.indices(inputs.shape, length.dtype)[0]
        weights = (steps < length).astype(params["embedding"].dtype)
        batch_size = inputs.shape[1]
        counts = Counts(*((n * batch_size).astype(weights.dtype) for n in (length, length - 1)))
        num_tokens, num_pairs = counts
        score = model.score(params, Window(inputs, targets, weights, length, counts), carry, drawn)
        value = (
            score.nll / num_tokens
            + ALPHA * losses.activation_reg(score.features.dropped_hs, weights) / num_tokens
            + BETA
            * losses.temporal_activation_reg(score.features.raw_hs, weights)
            / jnp.maximum(num_pairs, 1)
        )
        logits = logits_of(params, score.features)
        return value, (logits, score.carry)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def test_one_window_with_every_dropout(golden, model):
    step = make_loss(model, golden.masks())
    inputs, targets = golden["step/inputs"], golden["step/targets"]
    carry = golden.carry("step/carry")
    (loss, (logits, new_carry)), grads = step(
        golden.params("param"), carry, inputs, targets, jnp.asarray(len(inputs))
    )
    golden.assert_close(logits, golden["step/logits"])
    golden.assert_close(loss, golden["step/loss"])
    golden.assert_close(new_carry, golden.carry("step/new_carry"))
    golden.assert_close(grads, golden.params("step/grad"))


def test_evaluation_uses_the_raw_weights(golden, model):
    carry = golden.carry("step/carry")
    log_probs, _ = jax.jit(model.log_probs)(golden.params("param"), golden["step/inputs"], carry)
    golden.assert_close(log_probs, jax.nn.log_softmax(golden["step/eval_logits"]))

    @jax.jit
    def logits(params):
        inputs = golden["step/inputs"]
        none = Counts(jnp.zeros(()), jnp.zeros(()))
        window = Window(inputs, inputs, jnp.zeros(inputs.shape), len(inputs), none)
        return logits_of(params, model.score(params, window, carry).features)

    golden.assert_close(logits(golden.params("param")), golden["step/eval_logits"])


def test_ten_steps_of_the_optimizer(golden, model):
    """Clip, then L2, at a rate for each length; and the average."""
    norms, max_grad_norm = golden["run/grad_norms"], float(golden["run/max_grad_norm"])
    assert jnp.min(norms) < max_grad_norm < jnp.max(norms)
    config = default.get_config().optimizer
    config.max_grad_norm = max_grad_norm
    config.weight_decay = float(golden["run/weight_decay"])
    config.nonmono = 1
    optimizer = make_optimizer(config)

    @jax.jit
    def descend(params, opt_state, grads, learning_rate):
        updates, opt_state = optimizer.update(grads, opt_state, params, learning_rate=learning_rate)
        return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)

    step = make_loss(model, golden.masks())
    params, carry = golden.params("param"), jax.tree.map(jnp.zeros_like, golden.carry("step/carry"))
    opt_state = optimizer.init(params)
    for t, length in enumerate(golden["run/lengths"]):
        if t == golden["run/first_averaged"]:
            for loss in (1.0, 2.0, 3.0):
                opt_state = observe(opt_state, loss)
        window = golden["run/inputs"][t], golden["run/targets"][t]
        (loss, (_, carry)), grads = step(params, carry, *window, length)
        params, opt_state, norm = descend(params, opt_state, grads, golden["run/learning_rates"][t])
        golden.assert_close(loss, golden["run/losses"][t])
        golden.assert_close(norm, norms[t])
    golden.assert_close(params, golden.params("run/last"))
    golden.assert_close(averaged_params(opt_state, params), golden.params("run/mean"))
    # Torch's own clipping divides by norm + 1e-6: 5e-6 less of each gradient, ten times.
    golden.assert_close(params, golden.params("run_torch_clip/last"), rtol=5e-5)
