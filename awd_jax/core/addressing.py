"""The heads of a neural Turing machine, which address the N rows of a memory M.

A head has a weight w(i) on every row i; they sum to 1 (Graves, Wayne and Danihelka 2014, arXiv
1410.5401, section 3).

    content      w_c(i) = softmax_i(strength * cos(key, M_i))
    interpolate  w_g = gate * w_c + (1 - gate) * w of the step before
    shift        w_s(i) = sum_s shift(s) * w_g(i - s mod N),  s from -S to S
    sharpen      w(i) = w_s(i)^sharpness / sum_j w_s(j)^sharpness

    a read head   r = sum_i w(i) M_i
    a write head  M_i' = M_i * (1 - w(i) * erase) + w(i) * add
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TINY_NORM = 1e-8  # the root of 0 has no gradient, and a cosine of 0 is 0 / 0
TINY_WEIGHT = 1e-16  # nor has the logarithm of 0


class Address(NamedTuple):
    """What the controller tells heads about where."""

    key: Float[Array, "B A W"]
    strength: Float[Array, "B A 1"]  # at least 0
    gate: Float[Array, "B A 1"]
    shift: Float[Array, "B A S"]  # probabilities of the shifts, from the lowest on
    sharpness: Float[Array, "B A 1"]  # at least 1


def address(
    where: Address, memory: Float[Array, "B N W"], before: Float[Array, "B A N"]
) -> Float[Array, "B A N"]:
    """Returns the weight of each head on each row of the memory."""
    dots = jnp.einsum("baw,bnw->ban", where.key, memory)
    norms = _norm(where.key)[..., None] * _norm(memory)[:, None]
    content = jax.nn.softmax(where.strength * dots / (norms + TINY_NORM), axis=-1)
    mixed = where.gate * content + (1 - where.gate) * before
    max_shift = where.shift.shape[-1] // 2
    shifted = sum(
        where.shift[..., i, None] * jnp.roll(mixed, i - max_shift, axis=-1)
        for i in range(2 * max_shift + 1)
    )
    # The softmax of y log w is w^y / sum w^y, also where all powers would vanish.
    return jax.nn.softmax(where.sharpness * jnp.log(shifted + TINY_WEIGHT), axis=-1)


def read(memory: Float[Array, "B N W"], weights: Float[Array, "B R N"]) -> Float[Array, "B R W"]:
    """Returns what each head reads."""
    return jnp.einsum("brn,bnw->brw", weights, memory)


def write(
    memory: Float[Array, "B N W"],
    weights: Float[Array, "B N"],
    erase: Float[Array, "B W"],
    add: Float[Array, "B W"],
) -> Float[Array, "B N W"]:
    """Returns the memory after a head has written."""
    # Products by einsum, whose gradients are products too: XLA's CPU code for sums is slower.
    outer = functools.partial(jnp.einsum, "bn,bw->bnw", weights)
    return memory * (1 - outer(erase)) + outer(add)


def _norm(rows: Float[Array, "*N W"]) -> Float[Array, "*N"]:
    return jnp.sqrt(jnp.sum(rows**2, axis=-1) + TINY_NORM**2)
