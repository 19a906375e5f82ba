"""Against PyTorch models in every layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.batches import Counts, Window
from awd_jax.core.softmax import TiedParams, tied_logits
from awd_jax.errors import InputError
from awd_jax.interchange.params import check_params, flat_shapes, unflatten_params
from awd_jax.interchange.torch_layout import from_torch, to_torch
from awd_jax.interchange.weights_file import write_safetensors
from awd_jax.models.recurrent import RecurrentLM
from tests.interchange.golden import LAYOUTS, load_golden

# Of the golden file of awd-lstm-lm; fastai's have one token more.
MODEL = RecurrentLM(vocab_size=23, embed_dim=8, hidden_dim=12, num_layers=3)


def read(state, model=MODEL):
    params, names = from_torch("here", state)
    check_params("here", params, flat_shapes(model), names)
    return params


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_logits_as_torch(layout):
    golden = load_golden(layout)
    model = MODEL.clone(vocab_size=golden.logits.shape[-1])
    params = jax.tree.map(jnp.asarray, unflatten_params(read(golden.state, model)))

    @jax.jit
    def run(carry):
        """Logits and the next carry: log-probabilities would not see a constant that is added."""
        score = model.score(params, window, carry)
        own = TiedParams(params["softmax"]["bias"])
        return tied_logits(own, params["embedding"], score.features.dropped_hs), score.carry

    inputs = jnp.asarray(golden.inputs)
    counts = Counts(jnp.float32(inputs.size), jnp.float32(0))
    weights = jnp.ones(inputs.shape)
    window = Window(inputs, inputs, weights, jnp.int32(len(inputs)), counts)
    logits, carry = run(model.initial_carry(inputs.shape[1]))
    np.testing.assert_allclose(logits, golden.logits, rtol=1e-5, atol=1e-6)
    logits, _ = run(carry)
    np.testing.assert_allclose(logits, golden.later_logits, rtol=1e-5, atol=1e-6)


def test_there_and_back():
    state = load_golden("awd_lstm_lm").state
    back = to_torch(read(state))
    assert back.keys() == state.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name])


def test_without_weight_drop_there_is_no_wrapper():
    state = load_golden("awd_lstm_lm").state
    plain = {n.replace("module.", "").replace("_raw", ""): a for n, a in state.items()}
    assert "rnns.0.weight_hh_l0" in plain
    jax.tree.map(np.testing.assert_array_equal, read(plain), read(state))


def test_what_other_wrappers_put_before_each_name_is_dropped():
    state = load_golden("awd_lstm_lm").state
    wrapped = {f"module._orig_mod.{name}": array for name, array in state.items()}
    jax.tree.map(np.testing.assert_array_equal, read(wrapped), read(state))


L0 = "rnns.0.module."
BROKEN = {
    "a layer missing": (
        lambda s: [s.pop(n) for n in [*s] if n.startswith("rnns.1.")],
        r"lstm_1.b_h: is missing",
    ),
    "recurrent weights missing": (lambda s: s.pop(L0 + "weight_hh_l0_raw"), "lstm_0.w_h: is miss"),
    "bias missing": (lambda s: s.pop(L0 + "bias_hh_l0"), "lstm_0.b_h: is missing"),
    "embedding missing": (lambda s: s.pop("encoder.weight"), "embedding: is missing"),
    "encoder alone": (lambda s: s.pop("decoder.weight"), "decoder.weight: is missing; .*alone"),
    "QRNN": (lambda s: s.update({"rnns.0.linear.weight": np.zeros(3)}), "rnns.0.linear.weight: is"),
    "the same twice": (lambda s: s.update({"0.encoder.weight": s["encoder.weight"]}), "is there t"),
    "untied": (
        lambda s: s.update({"decoder.weight": s["decoder.weight"] + 1}),
        "decoder.weight: must equal encoder.weight; .*tied",
    ),
    "GRU": (
        lambda s: s.update({L0 + "weight_hh_l0_raw": np.zeros((36, 12), np.float32)}),
        r"weight_hh_l0_raw \(here lstm_0.w_h\) has shape \[12, 36\]: must be \[12, 48\]",
    ),
    "other width": (
        lambda s: s.update({"rnns.1.module.weight_ih_l0": np.zeros((48, 11), np.float32)}),
        r"rnns.1.module.weight_ih_l0 .* \[11, 48\]: must be \[12, 48\]",
    ),
    "empty": (
        lambda s: s.update({L0 + "weight_hh_l0_raw": np.zeros((0, 0))}),
        r"\[0, 0\]: must be",
    ),
    "a scalar": (
        lambda s: s.update({L0 + "weight_hh_l0_raw": np.zeros(())}),
        r"\[1\]: must be \[12, 48\]",
    ),
    "another bias": (lambda s: s.update({"decoder.bias": np.zeros(22)}), r"\[22\]: must be \[23\]"),
    "nothing": (lambda s: s.clear(), "decoder.weight: is missing"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_another_model_is_refused_in_one_line(what):
    break_it, told = BROKEN[what]
    state = load_golden("awd_lstm_lm").state
    break_it(state)
    with pytest.raises(InputError, match=told) as error:
        read(state)
    assert "\n" not in str(error.value)


def test_torch_loads_what_is_exported(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import load_file

    from experiments.make_golden_interchange import AWDLSTMLM

    golden = load_golden("awd_lstm_lm")
    write_safetensors(tmp_path / "m.safetensors", to_torch(read(golden.state)), {})
    model = AWDLSTMLM([8, 12, 12, 8], vocab_size=23)
    model.load_state_dict(load_file(tmp_path / "m.safetensors"))  # strict
    sizes = [rnn.module.hidden_size for rnn in model.rnns]
    carry = [tuple(torch.zeros(2, 1, 3, size).double()) for size in sizes]
    model.double()
    hs, _ = model.features(torch.from_numpy(golden.inputs), carry)
    logits = model.decoder(hs).detach().numpy()
    np.testing.assert_allclose(logits, golden.logits, rtol=1e-6, atol=1e-6)
