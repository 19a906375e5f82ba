"""One layer of a Transformer: attention, then two products at every step, both with a residual.

    y = norm(x + drop(attention(x, [memory; x]) W_o))
    z = norm(y + drop(drop(relu(y W_1 + b_1)) W_2 + b_2))

Norms come after the sum (Vaswani et al. 2017), or before attention and products, where a memory is
normalised like the window.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from awd_jax.core import masks as dropout
from awd_jax.core.attention import Positions, attend
from awd_jax.core.product import affine, product
from awd_jax.core.recurrence import Length

# What weight drop masks: the matrices of queries, keys, values and distances.
DROPPED = ("w_q", "w_k", "w_v", "w_r")


class Norm(NamedTuple):
    """Parameters of a layer normalisation."""

    scale: Float[Array, "D"]
    bias: Float[Array, "D"]


class LayerParams(NamedTuple):
    """Parameters of a layer; N heads of H features are G = N * H columns."""

    w_q: Float[Array, "D G"]
    w_k: Float[Array, "D G"]
    w_v: Float[Array, "D G"]
    w_o: Float[Array, "G D"]
    attention_norm: Norm
    w_1: Float[Array, "D F"]
    b_1: Float[Array, "F"]
    w_2: Float[Array, "F D"]
    b_2: Float[Array, "D"]
    feedforward_norm: Norm


class RelativeParams(NamedTuple):
    """What a layer with relative positions has besides."""

    w_r: Float[Array, "D G"]


class Biases(NamedTuple):
    """Of the scores of relative positions; shared by all layers, or one pair a layer."""

    u: Float[Array, "N H"]  # of contents
    v: Float[Array, "N H"]  # of distances


class DropMasks(NamedTuple):
    """The masks of weight drop: trees of parameters, each a mask or None; or None."""

    layer: Any = None  # of LayerParams
    relative: Any = None  # of RelativeParams


class LayerMasks(NamedTuple):
    """The masks of a layer; None means no dropout there."""

    weights: DropMasks = DropMasks()
    attention: dropout.Kept | None = None  # of the weights of attention, [T, B, N, K]
    attended: dropout.Kept | None = None  # [1, B, D] or [T, B, D]
    inner: dropout.Kept | None = None  # [1, B, F] or [T, B, F]
    after: dropout.Kept | None = None  # [1, B, D] or [T, B, D]


def init_layer(key: Key[Array, ""], dim: int, width: int, inner_dim: int) -> LayerParams:
    """Draws matrices from N(0, 0.02) and scales of norms from N(1, 0.02); biases are 0."""
    keys = iter(jax.random.split(key, 8))

    def draw(*shape: int) -> Array:
        return 0.02 * jax.random.normal(next(keys), shape)

    def norm() -> Norm:
        return Norm(1 + draw(dim), jnp.zeros(dim))

    return LayerParams(
        w_q=draw(dim, width),
        w_k=draw(dim, width),
        w_v=draw(dim, width),
        w_o=draw(width, dim),
        attention_norm=norm(),
        w_1=draw(dim, inner_dim),
        b_1=jnp.zeros(inner_dim),
        w_2=draw(inner_dim, dim),
        b_2=jnp.zeros(dim),
        feedforward_norm=norm(),
    )


def init_relative(key: Key[Array, ""], dim: int, width: int) -> RelativeParams:
    """Draws from N(0, 0.02)."""
    return RelativeParams(0.02 * jax.random.normal(key, (dim, width)))


def init_biases(key: Key[Array, ""], num_heads: int, head_dim: int) -> Biases:
    """Draws from N(0, 0.02)."""
    return Biases(*0.02 * jax.random.normal(key, (2, num_heads, head_dim)))


def layer(
    params: LayerParams,
    xs: Float[Array, "T B D"],
    seen: Float[Array, "K B D"],
    is_visible: Bool[Array, "B T K"],
    num_heads: int,
    relative: tuple[RelativeParams, Biases, Float[Array, "K D"]] | None = None,
    norm_first: bool = False,
    masks: LayerMasks = LayerMasks(),  # noqa: B008
) -> Float[Array, "T B D"]:
    """Returns the outputs of a layer.

    Args:
      params: of the layer, after weight drop.
      xs: its inputs.
      seen: its inputs before the window, the memory, and then `xs`.
      is_visible: which keys, of memory and window, each query sees.
      num_heads: N.
      relative: parameters and biases of relative positions, and the `sinusoids` of the distances
        0, 1, ..., K - 1; None without them.
      norm_first: norms come before attention and products, not after the sum.
      masks: of this window.
    """
    if norm_first:
        seen = normalise(params.attention_norm, seen)
    queries = seen[seen.shape[0] - xs.shape[0] :]

    def heads(inputs: Array, w: Array) -> Array:
        projected = product(inputs, w).astype(inputs.dtype)
        return projected.reshape(*inputs.shape[:-1], num_heads, w.shape[-1] // num_heads)

    positions = None
    if relative is not None:
        own, biases, distances = relative
        u, v = (bias.astype(xs.dtype) for bias in biases)
        positions = Positions(heads(distances, own.w_r), u, v)
    attended = attend(
        heads(queries, params.w_q),
        heads(seen, params.w_k),
        heads(seen, params.w_v),
        is_visible,
        positions,
        masks.attention,
    )
    attended = attended.reshape(*xs.shape[:-1], params.w_o.shape[0])
    attended = product(attended, params.w_o).astype(xs.dtype)
    ys = xs + dropout.apply(masks.attended, attended)
    if not norm_first:
        ys = normalise(params.attention_norm, ys)
    inner = normalise(params.feedforward_norm, ys) if norm_first else ys
    inner = dropout.apply(masks.inner, jax.nn.relu(affine(inner, params.w_1, params.b_1)))
    after = affine(inner.astype(xs.dtype), params.w_2, params.b_2).astype(xs.dtype)
    zs = ys + dropout.apply(masks.after, after)
    return zs if norm_first else normalise(params.feedforward_norm, zs)


def remember(
    seen: Float[Array, "K B D"], num_real: Length, memory_length: int
) -> Float[Array, "B M D"]:
    """Returns the memory after a window: the M latest of its memory and real steps, as constants.

    Args:
      seen: the memory before the window, and the window.
      num_real: its real steps, for all sequences or for each.
      memory_length: M.
    """
    starts = jnp.broadcast_to(num_real, seen.shape[1])

    def latest(column: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(column, start, memory_length)

    return jax.lax.stop_gradient(jax.vmap(latest, in_axes=(1, 0))(seen, starts))


def normalise(norm: Norm, xs: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Layer normalisation (Ba et al. 2016, arXiv 1607.06450), in the dtype of the parameters."""
    wide = xs.astype(norm.scale.dtype)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    # A first token whose embedding is dropped is a row of zeros, which no layer changes before the
    # biases are learned: each norm would multiply its gradient by 1e-5^(-1/2), all of them by 1e30.
    deviation = jnp.sqrt(jnp.where(variance > 0, variance + 1e-5, 1))
    scale, bias = (jnp.broadcast_to(array, wide.shape) for array in norm)
    return (centred / deviation * scale + bias).astype(xs.dtype)
