"""The adaptive softmax and the mixture against PyTorch: experiments/make_golden_softmax.py."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.adaptive import adaptive
from awd_jax.core.mixture import mixture

PATH = Path(__file__).parent / "golden_softmax.npz"
V, D, E = 30, 8, 5
HEADS = {"adaptive": (adaptive((6, 14), div_val=2), D), "mixture": (mixture(3), E)}


@pytest.fixture(params=HEADS)
def golden(request):
    """The head, its parameters and features, and the arrays of the file."""
    head, embed_dim = HEADS[request.param]
    with np.load(PATH) as file:
        found = {n.split("/")[1]: file[n] for n in file if n.startswith(f"{request.param}/")}

    def fill(path, like):
        """The array of that name; 0 where torch has less."""
        array = found[jax.tree_util.keystr(path, simple=True, separator=".")]
        return jnp.pad(array, [(0, n - m) for n, m in zip(like.shape, array.shape, strict=True)])

    def shapes(key):
        own = head.init(key, V, D, embed_dim)
        return {"own": own, "table": head.init_table(key, V, embed_dim)}

    params = jax.tree.map_with_path(fill, jax.eval_shape(shapes, jax.random.key(0)))
    return head, params | {"hs": jnp.asarray(found["hs"])}, found


def test_log_probabilities(golden):
    head, params, found = golden
    np.testing.assert_allclose(jax.jit(head.log_probs)(**params), found["log_probs"], rtol=1e-5)


def test_the_nll_and_every_gradient_of_its_sum(golden):
    head, params, found = golden

    window = {name: jnp.asarray(found[name]) for name in ("targets", "weights")}

    def loss(params):
        return head.sum_nll(**params, **window)

    (nll, tokens), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(tokens, found["nll"], rtol=1e-5)
    np.testing.assert_allclose(nll, np.vdot(found["weights"], found["nll"]), rtol=1e-5)
    leaves = jax.tree_util.tree_leaves_with_path(grads)
    ours = {jax.tree_util.keystr(p, simple=True, separator="."): g for p, g in leaves}
    theirs = {n.removeprefix("grads."): g for n, g in found.items() if n.startswith("grads.")}
    assert theirs.keys() == ours.keys() - {"table.projections.0"}  # which torch does not have
    for name, grad in theirs.items():
        got = ours[name][tuple(map(slice, grad.shape))]
        np.testing.assert_allclose(got, grad, rtol=1e-4, atol=1e-5, err_msg=name)
