"""Output layers, from features to next-token probabilities: the contract, and the plain softmaxes.

`tied` shares its matrix with the embedding, `separate` has one of its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from awd_jax.core.blocks import by_blocks
from awd_jax.core.draws import uniform
from awd_jax.core.layout import lay_out
from awd_jax.core.losses import token_nll
from awd_jax.core.product import affine

Own = Any  # a NamedTuple of the head's own parameters
HeadMasks = Any
Table = Any  # the embedding


def init_embedding(key: Key[Array, ""], vocab_size: int, embed_dim: int) -> Float[Array, "V E"]:
    """Draws one vector per token from U(-0.1, 0.1)."""
    return jax.random.uniform(key, (vocab_size, embed_dim), minval=-0.1, maxval=0.1)


@jax.custom_vjp
def look_up(table: Float[Array, "V E"], ids: Int[Array, "*N"]) -> Float[Array, "*N E"]:
    """Returns the vectors of tokens."""
    return table[ids]


def _look_up_forward(table: Array, ids: Array) -> tuple[Array, tuple]:
    return table[ids], (table, ids)


def _look_up_backward(residuals: tuple, d_xs: Array) -> tuple[Array, None]:
    table, ids = residuals
    d_table = jnp.zeros_like(table).at[ids].add(d_xs)
    # A TPU stores a table with V last unless E fills its tiles of 128, but adds up rows. Without a
    # word, the optimizer would work on rows, and copy the parameters and their mean back.
    return lay_out(d_table, (1, 0)) if table.shape[1] % 128 else d_table, None


look_up.defvjp(_look_up_forward, _look_up_backward)


class Head(NamedTuple):
    """An output layer as pure functions, and the embedding `table` that it shares.

    The table is an array [V, E] unless a head stores it otherwise. The head may ignore it.
    """

    init: Callable[..., Own]  # (key, V, D, E) -> own
    sample_masks: Callable[..., HeadMasks]  # (key, sequence ids [B], E) -> masks
    log_probs: Callable[..., Array]  # (own, table, hs [*N, D]) -> [*N, V], in nats
    # (own, table, hs [T, B, D], targets [T, B], weights [T, B], masks) -> the sum of
    # weights * NLL, and the NLL of each token [T, B], through which no gradient flows
    sum_nll: Callable[..., tuple[Array, Array]]
    init_table: Callable[..., Table] = init_embedding  # (key, V, E) -> table
    look_up: Callable[..., Array] = look_up  # (table, ids [*N]) -> [*N, E]


class TiedParams(NamedTuple):
    """Parameters of the tied softmax, besides the embedding."""

    bias: Float[Array, "V"]


class SeparateParams(NamedTuple):
    """Parameters of the separate softmax."""

    table: Float[Array, "V D"]
    bias: Float[Array, "V"]


def tied_logits(
    own: TiedParams | SeparateParams, table: Float[Array, "V D"], hs: Float[Array, "*N D"]
) -> Float[Array, "*N V"]:
    """Returns unnormalised log-probabilities, in nats: hs @ table^T + bias.

    The output matrix is the embedding itself (Inan et al. 2017, Press and Wolf 2017), without
    embedding dropout.
    """
    return affine(hs, table.T, own.bias)


def _init_tied(
    key: Key[Array, ""], vocab_size: int, feature_dim: int, embed_dim: int
) -> TiedParams:
    del key
    check_widths("tied", feature_dim, embed_dim)
    return TiedParams(jnp.zeros(vocab_size))


def no_masks(key: Key[Array, ""], sequence_ids: Int[Array, "B"], embed_dim: int) -> None:
    """Draws nothing: for a head without dropout."""
    del key, sequence_ids, embed_dim


def _tied_log_probs(
    own: TiedParams | SeparateParams, table: Float[Array, "V D"], hs: Float[Array, "*N D"]
) -> Float[Array, "*N V"]:
    return jax.nn.log_softmax(tied_logits(own, table, hs))


def _tied_block_nll(
    own: TiedParams | SeparateParams, table: Array, hs: Array, targets: Array, masks: None
) -> Array:
    del masks
    return token_nll(tied_logits(own, table, hs), targets)


def check_widths(name: str, feature_dim: int, embed_dim: int) -> None:
    """Raises ValueError unless the features are as wide as the embedding."""
    if feature_dim != embed_dim:
        raise ValueError(
            f"features of {feature_dim}: the {name} softmax needs those of {embed_dim}"
        )


def tied() -> Head:
    """Returns the softmax whose matrix is the embedding."""
    return Head(_init_tied, no_masks, _tied_log_probs, by_blocks(_tied_block_nll))


def _init_separate(
    key: Key[Array, ""], vocab_size: int, feature_dim: int, embed_dim: int
) -> SeparateParams:
    """Draws the matrix from U(-1/sqrt(D), 1/sqrt(D)), as torch does."""
    del embed_dim
    table = uniform(key, (vocab_size, feature_dim), feature_dim)
    return SeparateParams(table, jnp.zeros(vocab_size))


def _separate_log_probs(
    own: SeparateParams, table: Float[Array, "V E"], hs: Float[Array, "*N D"]
) -> Float[Array, "*N V"]:
    del table
    return _tied_log_probs(own, own.table, hs)


def _separate_block_nll(
    own: SeparateParams, table: Array, hs: Array, targets: Array, masks: None
) -> Array:
    del table
    return _tied_block_nll(own, own.table, hs, targets, masks)


def separate() -> Head:
    """Returns the softmax with a matrix of its own, for features of any width."""
    return Head(_init_separate, no_masks, _separate_log_probs, by_blocks(_separate_block_nll))
