"""The exported program, in a process without this package."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from awd_jax.interchange.params import flatten_params
from awd_jax.interchange.stablehlo import export_program
from awd_jax.interchange.weights_file import write_safetensors
from awd_jax.models.awd_lstm import AWDLSTM

MODEL = AWDLSTM(vocab_size=11, embed_dim=6, hidden_dim=8, num_layers=3)


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
    forward = jax.jit(MODEL.forward)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for name, tokens in inputs.items():
            tokens = jnp.asarray(tokens)
            logits, output = forward(params, tokens, MODEL.initial_carry(tokens.shape[1]))
            later_logits, _ = forward(params, tokens, output.carry)
            for suffix, expected in {".first": logits, ".second": later_logits}.items():
                np.testing.assert_allclose(
                    outputs[name + suffix], jax.nn.log_softmax(expected), rtol=1e-5, atol=1e-6
                )


def test_it_holds_no_parameters():
    large = MODEL.clone(vocab_size=100_000)  # 2.4 MB
    assert len(export_program(large)) < 50_000


def test_it_is_a_program_without_compilation_too():
    with jax.disable_jit():
        program = jax.export.deserialize(bytearray(export_program(MODEL)))
    assert program.platforms == ("cpu", "cuda", "tpu")
