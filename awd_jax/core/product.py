"""Matrix products in the precision of the activations."""

import functools
import re
from collections.abc import Callable
from string import ascii_uppercase
from typing import NamedTuple

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
    """Returns the `einsum` of two arrays of the same dtype, summed and returned in `dtype`.

    How it is computed is chosen where the program is lowered for a platform, not where it is
    traced.
    """

    def narrow(a: Array, b: Array) -> Array:
        return jnp.einsum(subscripts, a, b, preferred_element_type=dtype)

    def wide(a: Array, b: Array) -> Array:
        # XLA cannot multiply bfloat16 into float32 sums on a CPU. Within a program it may also
        # skip the rounding to bfloat16.
        return narrow(a.astype(dtype), b.astype(dtype))

    others = {"cpu": wide} if a.dtype != dtype else {}
    if single := _single_row(subscripts, a, b):
        others["tpu"] = functools.partial(_among_idle_rows, narrow, single)
    return jax.lax.platform_dependent(a, b, default=narrow, **others) if others else narrow(a, b)


class _Row(NamedTuple):
    """A factor of a product that has a single row (or column)."""

    factor: int  # 0 or 1
    axis: int  # of the factor
    out_axis: int


def _single_row(subscripts: str, a: Array, b: Array) -> _Row | None:
    num_dots = a.ndim - len(subscripts.split(",")[0].replace("...", ""))
    left, right, out = re.split(",|->", subscripts.replace("...", ascii_uppercase[:num_dots]))
    if set(left) & set(right) & set(out):  # many products at once
        return None
    for factor, (names, array) in enumerate(((left, a), (right, b))):
        axes = [axis for axis, name in enumerate(names) if name in out]
        if axes and all(array.shape[axis] == 1 for axis in axes):
            return _Row(factor, axes[-1], out.index(names[axes[-1]]))
    return None


def _among_idle_rows(multiply: Callable[..., Array], single: _Row, *factors: Array) -> Array:
    """Adds seven idle rows: a product with one row falls off the matrix unit of a TPU."""

    def widen(array: Array) -> Array:
        return jnp.pad(array, [(0, 7 * (axis == single.axis)) for axis in range(array.ndim)])

    wide = (widen(f) if i == single.factor else f for i, f in enumerate(factors))
    return jax.lax.slice_in_dim(multiply(*wide), 0, 1, axis=single.out_axis)


def _product_forward(x: Array, w: Array) -> tuple[Array, tuple]:
    return product(x, w), (x, w)


def _product_backward(residuals: tuple, d_y: Array) -> tuple[Array, Array]:
    x, w = residuals
    d_y = d_y.astype(x.dtype)
    d_x = multiply("...g,dg->...d", d_y, w.astype(x.dtype), w.dtype)
    return d_x.astype(x.dtype), multiply("...d,...g->dg", x, d_y, w.dtype)


product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def affine(
    x: Float[Array, "*N D"], w: Float[Array, "D G"], b: Float[Array, "G"]
) -> Float[Array, "*N G"]:
    """Returns x @ w + b, with the product in the dtype of x.

    The gradient of b is a product as well, with ones: a TPU is slower to sum over rows.
    """
    y = product(x, w)
    return y + jnp.broadcast_to(b, y.shape)


def _affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, tuple]:
    return affine(x, w, b), (x, w)


def _affine_backward(residuals: tuple, d_y: Array) -> tuple[Array, Array, Array]:
    x, w = residuals
    ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
    d_b = multiply("...k,...g->kg", ones, d_y.astype(x.dtype), w.dtype)[0]
    return *_product_backward(residuals, d_y), d_b


affine.defvjp(_affine_forward, _affine_backward)
