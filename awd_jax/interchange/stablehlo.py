"""The forward pass as a StableHLO program that runs without this package."""

from typing import Any

import jax
from jax import export
from jaxtyping import Array, Float, Int

from awd_jax.interchange.params import FlatParams, flat_shapes, unflatten_params
from awd_jax.models.contract import Carry
from awd_jax.models.recurrent import RecurrentLM

PLATFORMS = ("cpu", "cuda", "tpu")

# Arrays [B, ...] by their path: "0.h" and "0.c" of layer 0, "1.h" of layer 1, ...; "memory.0", ...
FlatCarry = dict[str, Any]


def export_program(model: Any) -> bytes:
    """Serialises (params, carry, inputs) -> (log_probs, carry) for any T and B.

    The parameters are an argument, a flat dict as in a safetensors file, rather than constants of
    the program. So the program is a few kilobytes, nothing is stored twice, the weights can be
    placed and shared like any arrays, and one program serves every checkpoint of a run. All
    arguments are dicts of arrays, as jax can rebuild other classes only with their package.

    To run it:

        program = jax.export.deserialize(bytearray(path.read_bytes()))
        log_probs, carry = program.call(params, carry, inputs)

    with `inputs` int32 [T, B], `log_probs` float32 [T, B, V] in nats for the token after each
    input, and at the start of a text a carry of zeros, whose shapes `program.in_avals` has.
    """

    if isinstance(model, RecurrentLM):
        model = model.clone(backend="scan")  # runs on every platform and for every size
    num_steps, batch_size = export.symbolic_shape("T, B")
    carry = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype),
        jax.eval_shape(lambda: model.initial_carry(1)),
    )
    structure = jax.tree.structure(carry)

    def run(
        params: FlatParams, carry: FlatCarry, inputs: Int[Array, "T B"]
    ) -> tuple[Float[Array, "T B V"], FlatCarry]:
        states = jax.tree.unflatten(structure, [carry[name] for name in names])
        log_probs, states = model.log_probs(unflatten_params(params), inputs, states)
        return log_probs, flatten_carry(states)

    flat_carry = flatten_carry(carry)
    names = list(flat_carry)
    inputs = jax.ShapeDtypeStruct((num_steps, batch_size), "int32")
    with jax.disable_jit(False):  # an export needs jit, even under JAX_DISABLE_JIT
        exported = export.export(jax.jit(run), platforms=PLATFORMS)(
            flat_shapes(model), flat_carry, inputs
        )
    return bytes(exported.serialize())


def flatten_carry(carry: Carry) -> FlatCarry:
    """Returns a carry as the program takes and returns it: leaves by path, such as "0.h"."""
    leaves = jax.tree_util.tree_leaves_with_path(carry)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
