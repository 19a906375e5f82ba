"""Matrix products in the precision of the activations."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


@jax.custom_vjp
def product(x: Float[Array, "*N D"], w: Float[Array, "D G"]) -> Float[Array, "*N G"]:
    """Returns x @ w, multiplied in the dtype of the activations x and summed in that of w.

    So bfloat16 activations lead to bfloat16 products with float32 parameters, in
    the gradients as well. jax's own gradients would multiply float32 with
    bfloat16 arrays, which no tensor core does.
    """
    return multiply("...d,dg->...g", x, w.astype(x.dtype), w.dtype)


def multiply(
    subscripts: str, a: Float[Array, "..."], b: Float[Array, "..."], dtype: DTypeLike
) -> Float[Array, "..."]:
    """Returns the `einsum` of two arrays of the same dtype, summed and returned in `dtype`."""
    if jax.default_backend() == "cpu":
        # XLA cannot multiply bfloat16 into float32 sums there. Within a program it may also skip
        # the rounding to bfloat16.
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


def affine(
    x: Float[Array, "*N D"], w: Float[Array, "D G"], b: Float[Array, "G"]
) -> Float[Array, "*N G"]:
    """Returns x @ w + b, with the product in the dtype of x."""
    y = product(x, w)
    return y + jnp.broadcast_to(b, y.shape)
