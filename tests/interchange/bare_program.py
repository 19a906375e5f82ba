"""Runs an exported program in a process that has jax, numpy and safetensors only.

python bare_program.py PROGRAM WEIGHTS INPUTS.npz OUTPUTS.npz
"""

import sys
from pathlib import Path

import jax.export
import numpy as np
import safetensors.numpy

for package in ("awd_jax", "flax", "optax", "orbax", "jaxtyping"):
    assert package not in sys.modules
    sys.modules[package] = None  # from now on nobody can import it

program, weights, inputs, outputs = sys.argv[1:]
program = jax.export.deserialize(bytearray(Path(program).read_bytes()))
params = safetensors.numpy.load_file(weights)
results = {}
with np.load(inputs) as file:
    for name, tokens in file.items():
        num_steps, batch_size = tokens.shape
        carry = {
            f"{layer}.{part}": np.zeros((batch_size, len(params[f"lstm_{layer}.w_h"])), np.float32)
            for layer in range(sum(name.endswith(".w_h") for name in params))
            for part in "hc"
        }
        results[f"{name}.first"], carry = program.call(params, carry, tokens)
        results[f"{name}.second"], _ = program.call(params, carry, tokens)
np.savez(outputs, **results)
print(*program.platforms)
