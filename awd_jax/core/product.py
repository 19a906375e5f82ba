"""Matrix products whose precision is that of the activations."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


@jax.custom_vjp
def product(x: Float[Array, "*N D"], w: Float[Array, "D G"]) -> Float[Array, "*N G"]:
    """x @ w with both in the dtype of the activations x, summed and given in that of w.

    So bfloat16 activations make bfloat16 products of float32 parameters, and
    their gradients are such products too. jax's own would multiply a float32
    gradient with a bfloat16 array, which no tensor core does.
    """
    return multiply("...d,dg->...g", x, w.astype(x.dtype), w.dtype)


def multiply(
    subscripts: str, a: Float[Array, "..."], b: Float[Array, "..."], dtype: DTypeLike
) -> Float[Array, "..."]:
    """`einsum` of two arrays of the same dtype, summed and given in `dtype`."""
    if jax.default_backend() == "cpu":
        # XLA has no bfloat16 factors with float32 sums there. In a program it may leave out the
        # rounding, too.
        a, b = a.astype(dtype), b.astype(dtype)
    return jnp.einsum(subscripts, a, b, preferred_element_type=dtype)


def _product_forward(x: Array, w: Array) -> tuple[Array, tuple]:
    return product(x, w), (x, w)


def _product_backward(residuals: tuple, d_y: Array) -> tuple[Array, Array]:
    x, w = residuals
    d_y = d_y.astype(x.dtype)
    d_x = multiply("...g,dg->...d", d_y, w.astype(x.dtype), w.dtype)
    return d_x.astype(x.dtype), multiply("...d,...g->dg", x, d_y, w.dtype)


product.defvjp(_product_forward, _product_backward)
