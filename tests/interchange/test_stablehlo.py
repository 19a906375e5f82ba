"""The exported program, in a process without this package."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.cells import CELLS
from awd_jax.interchange.params import flatten_params
from awd_jax.interchange.stablehlo import export_program, flatten_carry
from awd_jax.interchange.weights_file import write_safetensors
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.models.transformer import TransformerLM

MODEL = RecurrentLM(vocab_size=11, embed_dim=6, hidden_dim=8, num_layers=3)


def test_it_computes_what_the_model_does_for_any_time_and_batch(tmp_path):
    params = MODEL.init_params(jax.random.key(0))
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.integers(11, size=shape, dtype=np.int32)
        for name, shape in {"a": (7, 3), "b": (1, 5)}.items()
    }
    (tmp_path / "program").write_bytes(export_program(MODEL))
    write_safetensors(tmp_path / "weights", flatten_params(jax.device_get(params)), {})
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = Path(__file__).with_name("bare_program.py")
    result = subprocess.run(
        [sys.executable, script, "program", "weights", "inputs.npz", "outputs.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["cpu", "cuda", "tpu"]
    run = jax.jit(MODEL.log_probs)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for name, tokens in inputs.items():
            tokens = jnp.asarray(tokens)
            first, carry = run(params, tokens, MODEL.initial_carry(tokens.shape[1]))
            second, _ = run(params, tokens, carry)
            for suffix, expected in {".first": first, ".second": second}.items():
                np.testing.assert_allclose(outputs[name + suffix], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_of_any_cell_is_exported_with_its_carry_by_name(cell):
    needed = {
        "mogrifier": {"mogrifier_rounds": 1, "mogrifier_rank": 2},
        "ntm": {"memory_rows": 3, "memory_dim": 2},
    }
    model = MODEL.clone(cell=cell, num_layers=2, **needed.get(cell, {}))
    params = model.init_params(jax.random.key(0))
    program = jax.export.deserialize(bytearray(export_program(model)))
    start = model.initial_carry(3)
    tokens = jnp.asarray(np.random.default_rng(0).integers(11, size=(4, 3)), jnp.int32)
    log_probs, carry = program.call(flatten_params(params), flatten_carry(start), tokens)
    parts = [part for part, leaf in start[0]._asdict().items() if leaf is not None]
    assert carry.keys() == {f"{i}.{part}" for i in range(2) for part in parts}
    expected, after = model.log_probs(params, tokens, start)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-6)
    for name, leaf in flatten_carry(after).items():
        np.testing.assert_allclose(carry[name], leaf, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_a_transformer_is_exported_with_its_memory(positions):
    sizes = {"embed_dim": 8, "num_layers": 2, "num_heads": 2, "head_dim": 3, "inner_dim": 9}
    model = TransformerLM(vocab_size=11, positions=positions, **sizes).remembering(3)
    params = model.init_params(jax.random.key(0))
    program = jax.export.deserialize(bytearray(export_program(model)))
    start = model.initial_carry(3)
    tokens = jnp.asarray(np.random.default_rng(0).integers(11, size=(4, 3)), jnp.int32)
    log_probs, carry = program.call(flatten_params(params), flatten_carry(start), tokens)
    assert carry.keys() == {"memory.0", "memory.1", "num_filled"}
    expected, after = model.log_probs(params, tokens, start)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-6)
    for name, leaf in flatten_carry(after).items():
        np.testing.assert_allclose(carry[name], leaf, rtol=1e-5, atol=1e-6)


def test_it_holds_no_parameters():
    large = MODEL.clone(vocab_size=100_000)  # 2.4 MB
    assert len(export_program(large)) < 50_000


def test_it_is_a_program_without_compilation_too():
    with jax.disable_jit():
        program = jax.export.deserialize(bytearray(export_program(MODEL)))
    assert program.platforms == ("cpu", "cuda", "tpu")
