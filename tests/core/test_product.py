"""Products whose precision is that of the activations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.product import multiply, product
from tests.products import as_on

X, W = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((7, 3, 5), (5, 4))))


def value_and_grads(function, dtype):
    weight = jnp.arange(84.0).reshape(7, 3, 4) / 84
    return jax.value_and_grad(lambda x, w: jnp.sum(weight * function(x, w)), (0, 1))(
        X.astype(dtype), W
    )


def test_in_float32_it_is_the_product_and_so_are_its_gradients():
    expected, got = value_and_grads(jnp.matmul, jnp.float32), value_and_grads(product, jnp.float32)
    jax.tree.map(lambda e, g: np.testing.assert_allclose(g, e, rtol=1e-5), expected, got)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_and_its_gradients_have_the_dtypes_of_the_parameters_and_activations(dtype):
    value, (d_x, d_w) = value_and_grads(product, dtype)
    assert (value.dtype, d_x.dtype, d_w.dtype) == (jnp.float32, dtype, jnp.float32)


def test_in_bfloat16_only_the_factors_are_rounded():
    """Sums are float32: 256 + 1 is 256 in bfloat16."""
    ones = jnp.ones((1, 257), jnp.bfloat16)
    assert product(ones, jnp.ones((257, 1))) == 257
    assert jax.grad(lambda w: product(ones.T, w).sum())(jnp.ones((1, 1))) == 257
    # 1 + 2**-9 is 1 in bfloat16
    np.testing.assert_array_equal(product(ones, jnp.full((257, 1), 1 + 2**-9)), [[257.0]])


@pytest.mark.parametrize(
    ("subscripts", "a_shape", "b_shape", "is_single"),
    [
        ("...d,dg->...g", (1, 1, 5), (5, 4), True),
        ("...d,dg->...g", (3, 1, 5), (5, 4), False),
        ("gh,hb->gb", (4, 5), (5, 1), True),
        ("gh,hb->gb", (4, 5), (5, 2), False),
        ("nd,gn->dg", (1, 5), (4, 1), False),
        ("btd,bds->bts", (1, 1, 5), (1, 5, 4), False),
    ],
)
def test_on_a_tpu_a_single_row_has_idle_ones_beside_it(
    monkeypatch, subscripts, a_shape, b_shape, is_single
):
    a, b = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate((a_shape, b_shape)))
    expected = jnp.einsum(subscripts, a, b)
    run = functools.partial(multiply, subscripts, dtype=jnp.float32)
    traced = jax.jit(run).trace(a, b)
    for platform, is_wider in (("cpu", False), ("cuda", False), ("tpu", is_single)):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.pad" in program) == is_wider
    monkeypatch.setattr(jax.lax, "platform_dependent", as_on("tpu"))
    np.testing.assert_allclose(run(a, b), expected, rtol=1e-6)


def test_bfloat16_is_multiplied_as_it_is_wherever_that_can_be():
    traced = jax.jit(product).trace(X.astype(jnp.bfloat16), W)
    for platform, is_narrow in (("cpu", False), ("cuda", True), ("tpu", True)):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        (line,) = (line for line in program.splitlines() if "dot_general" in line)
        assert ("tensor<5x4xbf16>" in line) == is_narrow
