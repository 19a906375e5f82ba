"""The forward pass as a StableHLO program that runs without this package."""

from typing import Any

import jax
from jax import export
from jaxtyping import Array, Float, Int

from awd_jax.core.cells import LSTMState
from awd_jax.interchange.params import FlatParams, flat_shapes, unflatten_params
from awd_jax.models.awd_lstm import AWDLSTM

PLATFORMS = ("cpu", "cuda", "tpu")

FlatCarry = dict[str, Any]  # "lstm_0.h", "lstm_0.c", "lstm_1.h", ...: arrays [B, H]


def export_program(model: AWDLSTM) -> bytes:
    """Serialises (params, carry, inputs) -> (log_probs, carry) for any T and B.

    The parameters are an argument, a flat dict as a file of safetensors holds it, and not
    constants of the program: so the program has some kilobytes, nothing is stored twice, the
    weights may be placed and shared like any arrays, and one program serves every checkpoint of a
    run. All arguments are dicts of arrays, because jax rebuilds no other class without its package.

    To run it:

        program = jax.export.deserialize(bytearray(path.read_bytes()))
        log_probs, carry = program.call(params, carry, inputs)

    with `inputs` int32 [T, B]; `log_probs` float32 [T, B, V] in nats, of the token after each
    input; and a carry of zeros [B, H] at the start of a text.
    """

    model = model.clone(lstm_backend="scan")  # of every platform and size, not of those at hand

    def run(
        params: FlatParams, carry: FlatCarry, inputs: Int[Array, "T B"]
    ) -> tuple[Float[Array, "T B V"], FlatCarry]:
        states = tuple(
            LSTMState(h=carry[f"lstm_{i}.h"], c=carry[f"lstm_{i}.c"])
            for i in range(model.num_layers)
        )
        logits, output = model.forward(unflatten_params(params), inputs, states)
        return jax.nn.log_softmax(logits), flatten_carry(output.carry)

    num_steps, batch_size = export.symbolic_shape("T, B")
    carry = {
        f"lstm_{i}.{part}": jax.ShapeDtypeStruct((batch_size, hidden_dim), "float32")
        for i, (_, hidden_dim) in enumerate(model.layer_dims)
        for part in LSTMState._fields
    }
    inputs = jax.ShapeDtypeStruct((num_steps, batch_size), "int32")
    with jax.disable_jit(False):  # a program is what compilation makes, whatever JAX_DISABLE_JIT
        exported = export.export(jax.jit(run), platforms=PLATFORMS)(
            flat_shapes(model), carry, inputs
        )
    return bytes(exported.serialize())


def flatten_carry(carry: tuple[LSTMState, ...]) -> FlatCarry:
    """A carry as the program takes and gives it."""
    return {
        f"lstm_{i}.{part}": array
        for i, state in enumerate(carry)
        for part, array in state._asdict().items()
    }
