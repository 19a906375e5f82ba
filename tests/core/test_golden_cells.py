"""Each cell against PyTorch. experiments/make_golden_cells.py writes the file and says what it has.

What a cell puts out after the end of a sequence counts as 0.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.bidirectional import bidirectional
from awd_jax.core.cells import CELLS

PATH = Path(__file__).with_name("golden_cells.npz")
KINDS = {
    "lstm": ("full", "ragged", "bidirectional"),
    "gru": ("full", "ragged", "bidirectional"),
    "cho_gru": ("full", "ragged"),
    "rnn": ("full", "ragged"),
    "qrnn-1": ("full", "ragged"),
    "qrnn-2": ("full", "ragged"),
}
ROADS = {
    "cho_gru": ("scan",),
    "qrnn-1": ("scan", "associative"),
    "qrnn-2": ("scan", "associative"),
}
CASES = [
    (f"{cell}/{kind}", backend)
    for cell, kinds in KINDS.items()
    for kind in kinds
    for backend in ROADS.get(cell, ("scan", "fast"))
]


def make_cell(name, backend):
    """The number after a dash is a filter's width."""
    name, *width = name.split("-")
    return CELLS[name](backend, *map(int, width))


class Golden:
    """The arrays of one case, and the cell that they are of."""

    def __init__(self, case, backend):
        with np.load(PATH) as file:
            names = [name for name in file if name.startswith(f"{case}/")]
            self.arrays = {n.removeprefix(f"{case}/"): jnp.asarray(file[n]) for n in names}
        name, kind = case.split("/")
        cell = make_cell(name, backend)
        self.cell = bidirectional(cell) if kind == "bidirectional" else cell
        self.xs, self.lengths = self["xs"], self["lengths"]
        _, batch_size, input_dim = self.xs.shape
        hidden_dim = self["hs"].shape[-1] // (2 if kind == "bidirectional" else 1)
        self.params_like = self.cell.init(jax.random.key(0), input_dim, hidden_dim)
        self.state_like = self.cell.initial_state(batch_size, input_dim, hidden_dim)
        self.params = self.tree("params", self.params_like)
        self.state = self.tree("state", self.state_like)

    def __getitem__(self, name):
        return self.arrays[name]

    def tree(self, prefix, like):
        """The arrays whose names begin so, in the structure and of the shapes of `like`."""

        def find(path, leaf):
            array = self[f"{prefix}.{jax.tree_util.keystr(path, simple=True, separator='.')}"]
            assert array.shape == leaf.shape and array.dtype == leaf.dtype
            return array

        return jax.tree.map_with_path(find, like)

    def unroll(self, params, state, xs, lengths):
        hs, last = self.cell.unroll(params, state, xs, lengths)
        lengths = jnp.broadcast_to(lengths, hs.shape[1])
        is_real = jnp.indices(hs.shape)[0] < lengths[None, :, None]
        return jnp.where(is_real, hs, 0), last


@pytest.fixture(params=CASES, ids="-".join)
def golden(request):
    return Golden(*request.param)


def test_there_is_a_case_of_every_cell():
    # PyTorch has neither.
    assert {name.split("-")[0] for name in KINDS} == CELLS.keys() - {"mogrifier", "ntm"}


def assert_close(actual, desired, rtol, atol):
    jax.tree.map(lambda a, d: np.testing.assert_allclose(a, d, rtol, atol), actual, desired)


def test_outputs_and_last_state(golden):
    actual = jax.jit(golden.unroll)(golden.params, golden.state, golden.xs, golden.lengths)
    desired = golden["hs"], golden.tree("last", golden.state_like)
    assert_close(actual, desired, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("b", [0, 1])
def test_a_sequence_alone(golden, b):
    """Its length is a scalar."""

    def alone(state):
        return jax.tree.map(lambda s: s[b, None], state)

    length = jnp.broadcast_to(golden.lengths, 2)[b]
    xs, desired_hs = golden.xs[:, b, None], golden["hs"][:, b, None]
    actual = jax.jit(golden.unroll)(golden.params, alone(golden.state), xs, length)
    desired = desired_hs, alone(golden.tree("last", golden.state_like))
    assert_close(actual, desired, rtol=1e-5, atol=1e-5)


def test_gradients(golden):
    cotangents = golden["cotangents.hs"], golden.tree("cotangents.last", golden.state_like)

    def total(params, state, xs):
        results = golden.unroll(params, state, xs, golden.lengths)
        return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, results, cotangents))

    grads = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(golden.params, golden.state, golden.xs)
    desired = (
        golden.tree("grads", golden.params_like),
        golden.tree("grads.state", golden.state_like),
        golden["grads.xs"],
    )
    assert_close(grads, desired, rtol=1e-4, atol=1e-6)
