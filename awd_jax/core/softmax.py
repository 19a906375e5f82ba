"""Output layers, from features to next-token probabilities: the contract and the tied softmax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from awd_jax.core.losses import token_nll
from awd_jax.core.product import affine

# Largest block, in logits (32 MiB of float32), but at least twice the table's size, as each block
# also writes a gradient as large as the table. A single time step is never split.
BLOCK_LOGITS = 2**23

Own = Any  # a NamedTuple of the head's own parameters
HeadMasks = Any
Table = Any  # the embedding


def init_embedding(key: Key[Array, ""], vocab_size: int, embed_dim: int) -> Float[Array, "V E"]:
    """Draws one vector per token from U(-0.1, 0.1)."""
    return jax.random.uniform(key, (vocab_size, embed_dim), minval=-0.1, maxval=0.1)


def look_up(table: Float[Array, "V E"], ids: Int[Array, "*N"]) -> Float[Array, "*N E"]:
    """Returns the vectors of tokens."""
    return table[ids]


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


def tied_logits(
    own: TiedParams, table: Float[Array, "V D"], hs: Float[Array, "*N D"]
) -> Float[Array, "*N V"]:
    """Returns unnormalised log-probabilities, in nats: hs @ table^T + bias.

    The output matrix is the embedding itself (Inan et al. 2017, Press and Wolf 2017), without
    embedding dropout.
    """
    return affine(hs, table.T, own.bias)


def by_blocks(
    block_nll: Callable[[Own, Array, Array, Array, HeadMasks], Array],
) -> Callable[..., tuple[Array, Array]]:
    """Returns the `sum_nll` of a head, built from the NLL of a block of tokens.

    It never holds all T * B * V logits in memory: the gradient of a block is computed while its
    logits are there, and the backward pass needs none of them. Weights and masks are constants,
    without a gradient.

    Args:
      block_nll: maps (own, table, hs [N, D], targets [N], masks) to the NLL of each token, [N]. It
        may close over sizes, but not over arrays.
    """

    def weighted(
        own: Own, table: Array, hs: Array, targets: Array, weights: Array, masks: HeadMasks
    ) -> tuple[Array, Array]:
        nll = block_nll(own, table, hs, targets, masks)
        return jnp.sum(weights * nll), nll

    @jax.custom_vjp
    def sum_nll(
        own: Own,
        table: Float[Array, "V E"],
        hs: Float[Array, "T B D"],
        targets: Int[Array, "T B"],
        weights: Float[Array, "T B"],
        masks: HeadMasks = None,
    ) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
        def step(total: Array, block: tuple) -> tuple[Array, Array]:
            hs, targets, weights = block
            nll, tokens = weighted(own, table, hs, targets, weights, masks)
            return total + nll, tokens

        blocks = in_blocks((hs, targets, weights), table)
        nll, tokens = jax.lax.scan(step, jnp.zeros((), table.dtype), blocks)
        return nll, tokens.reshape(targets.shape)

    def forward(
        own: Own, table: Array, hs: Array, targets: Array, weights: Array, masks: HeadMasks = None
    ) -> tuple[tuple[Array, Array], tuple]:
        value_and_grad = jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True)

        def step(sums: tuple, block: tuple) -> tuple[tuple, tuple]:
            (nll, tokens), (d_own, d_table, d_hs) = value_and_grad(own, table, *block, masks)
            return jax.tree.map(jnp.add, sums, (nll, d_own, d_table)), (d_hs, tokens)

        zeros = jax.tree.map(jnp.zeros_like, (jnp.zeros((), table.dtype), own, table))
        blocks = in_blocks((hs, targets, weights), table)
        (nll, d_own, d_table), (d_hs, tokens) = jax.lax.scan(step, zeros, blocks)
        return (nll, tokens.reshape(targets.shape)), (d_own, d_table, d_hs.reshape(hs.shape))

    def backward(grads: tuple, d_outputs: tuple[Array, Array]) -> tuple:
        d_nll, _ = d_outputs  # the NLL of single tokens is a constant
        scaled = jax.tree.map(lambda g: (d_nll * g.astype(d_nll.dtype)).astype(g.dtype), grads)
        return *scaled, None, None, None

    sum_nll.defvjp(forward, backward)
    return sum_nll


def in_blocks(
    arrays: tuple[Shaped[Array, "T B ..."], ...], table: Float[Array, "V E"]
) -> tuple[Shaped[Array, "K N ..."], ...]:
    """Splits arrays into K blocks of N = T * B / K positions, as few as `BLOCK_LOGITS` allows.

    T and B are merged here: if the logits of a block were reshaped for its products, XLA would
    compute their gradient twice, once for each shape.
    """
    num_steps, batch_size = arrays[0].shape[:2]
    logits_of_step = batch_size * len(table)
    max_logits = max(BLOCK_LOGITS, 2 * table.size)
    num_blocks = next(
        (
            n
            for n in range(1, num_steps)
            if num_steps % n == 0 and num_steps // n * logits_of_step <= max_logits
        ),
        num_steps,
    )
    return tuple(a.reshape(num_blocks, -1, *a.shape[2:]) for a in arrays)


def _init_tied(
    key: Key[Array, ""], vocab_size: int, feature_dim: int, embed_dim: int
) -> TiedParams:
    del key
    if feature_dim != embed_dim:
        raise ValueError(f"features of {feature_dim}: the tied softmax needs those of {embed_dim}")
    return TiedParams(jnp.zeros(vocab_size))


def no_masks(key: Key[Array, ""], sequence_ids: Int[Array, "B"], embed_dim: int) -> None:
    """Draws nothing: for a head without dropout."""
    del key, sequence_ids, embed_dim


def _tied_log_probs(
    own: TiedParams, table: Float[Array, "V D"], hs: Float[Array, "*N D"]
) -> Float[Array, "*N V"]:
    return jax.nn.log_softmax(tied_logits(own, table, hs))


def _tied_block_nll(own: TiedParams, table: Array, hs: Array, targets: Array, masks: None) -> Array:
    del masks
    return token_nll(tied_logits(own, table, hs), targets)


def tied() -> Head:
    """Returns the softmax whose matrix is the embedding."""
    return Head(_init_tied, no_masks, _tied_log_probs, by_blocks(_tied_block_nll))


HEADS: dict[str, Callable[..., Head]] = {"tied": tied}
