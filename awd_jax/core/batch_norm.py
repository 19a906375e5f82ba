"""Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167) as a pure function.

Its running mean and variance are parameters whose gradient is their distance from those of the
batch, that of `drift`: plain SGD at the rate of MOMENTUM makes running means of them. So they are
summed over devices, averaged, saved and restored as all parameters are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MOMENTUM = 0.1  # share of the batch in the running means, as in torch
EPSILON = 1e-5
STATISTICS = ("mean", "variance")  # names of the parameters that only `drift` moves


class BatchNormParams(NamedTuple):
    """The parameters of a batch normalisation."""

    scale: Float[Array, "D"]
    shift: Float[Array, "D"]
    mean: Float[Array, "D"]  # running
    variance: Float[Array, "D"]  # running, without bias


def init_batch_norm(dim: int) -> BatchNormParams:
    """Returns a normalisation that changes nothing before it has seen a batch."""
    return BatchNormParams(jnp.ones(dim), jnp.zeros(dim), jnp.zeros(dim), jnp.ones(dim))


def normalise(params: BatchNormParams, xs: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Returns xs normalised by the running mean and variance, for evaluation."""
    return _scaled(params, xs, params.mean, params.variance)


def batch_norm(
    params: BatchNormParams,
    xs: Float[Array, "B D"],
    is_real: Float[Array, "B"],
    axis_name: str | None = None,
) -> tuple[Float[Array, "B D"], Float[Array, ""]]:
    """Returns xs normalised by the mean and variance of the real ones, and the drift.

    If but one is real, they are the running ones, and the drift is 0.

    Args:
      params: of this normalisation.
      xs: features.
      is_real: 1 real, 0 idle.
      axis_name: of the devices that have parts of the batch; None if there is but one.
    """

    def total(values: Array) -> Array:
        return values if axis_name is None else jax.lax.psum(values, axis_name)

    num_real = jnp.maximum(total(is_real.sum()), 1)
    mean = total((is_real[:, None] * xs).sum(axis=0)) / num_real
    squares = total((is_real[:, None] * jnp.square(xs - mean[None])).sum(axis=0))
    without_bias = squares / jnp.maximum(num_real - 1, 1)
    running = jnp.stack([params.mean, params.variance])
    apart = running - jax.lax.stop_gradient(jnp.stack([mean, without_bias]))
    # A lone one has no variance: it is normalised as in evaluation, and moves nothing.
    is_lone = num_real < 2
    drift = jnp.where(is_lone, 0, jnp.square(apart).sum() / 2)
    of_batch = jnp.stack([mean, squares / num_real])
    mean, variance = jnp.where(is_lone, jax.lax.stop_gradient(running), of_batch)
    return _scaled(params, xs, mean, variance), drift


def _scaled(params: BatchNormParams, xs: Array, mean: Array, variance: Array) -> Array:
    factor = params.scale * jax.lax.rsqrt(variance + EPSILON)
    return (xs - mean[None]) * factor[None] + params.shift[None]
