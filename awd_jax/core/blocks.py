"""Losses by blocks of tokens: the gradient of a block is made while its logits are there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

# Largest block, in logits (32 MiB of float32), but at least twice the table's size, as each block
# also writes a gradient as large as the table. A single time step is never split.
BLOCK_LOGITS = 2**23
# Fewest tokens of a block of members, even if they have more logits than that: each block adds to
# a gradient as large as the rows of their cluster, which few tokens would not repay.
BLOCK_TOKENS = 256


def by_blocks(
    block_nll: Callable[[Any, Any, Array, Array, Any], Array],
    num_logits: Callable[[Any], int] = len,
) -> Callable[..., tuple[Array, Array]]:
    """Returns the `sum_nll` of a head, built from the NLL of a block of tokens.

    It never holds all T * B * V logits in memory: the gradient of a block is computed while its
    logits are there, and the backward pass needs none of them. Weights and masks are constants,
    without a gradient.

    Args:
      block_nll: maps (own, table, hs [N, D], targets [N], masks) to the NLL of each token, [N]. It
        may close over sizes, but not over arrays.
      num_logits: maps the table to the number of logits of one token.
    """

    def weighted(
        own: Any, table: Any, hs: Array, targets: Array, weights: Array, masks: Any
    ) -> tuple[Array, Array]:
        nll = block_nll(own, table, hs, targets, masks)
        return jnp.sum(weights * nll), nll

    @jax.custom_vjp
    def sum_nll(
        own: Any,
        table: Any,
        hs: Float[Array, "T B D"],
        targets: Int[Array, "T B"],
        weights: Float[Array, "T B"],
        masks: Any = None,
    ) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
        def step(total: Array, block: tuple) -> tuple[Array, Array]:
            hs, targets, weights = block
            nll, tokens = weighted(own, table, hs, targets, weights, masks)
            return total + nll, tokens

        blocks = in_blocks((hs, targets, weights), num_logits(table), _size(table))
        nll, tokens = jax.lax.scan(step, _zero(table), blocks)
        return nll, tokens.reshape(targets.shape)

    def forward(
        own: Any, table: Any, hs: Array, targets: Array, weights: Array, masks: Any = None
    ) -> tuple[tuple[Array, Array], tuple]:
        value_and_grad = jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True)

        def step(sums: tuple, block: tuple) -> tuple[tuple, tuple]:
            (nll, tokens), (d_own, d_table, d_hs) = value_and_grad(own, table, *block, masks)
            return jax.tree.map(jnp.add, sums, (nll, d_own, d_table)), (d_hs, tokens)

        zeros = jax.tree.map(jnp.zeros_like, (_zero(table), own, table))
        blocks = in_blocks((hs, targets, weights), num_logits(table), _size(table))
        (nll, d_own, d_table), (d_hs, tokens) = jax.lax.scan(step, zeros, blocks)
        return (nll, tokens.reshape(targets.shape)), (d_own, d_table, d_hs.reshape(hs.shape))

    def backward(grads: tuple, d_outputs: tuple[Array, Array]) -> tuple:
        d_nll, _ = d_outputs  # the NLL of single tokens is a constant
        return *scale_grads(grads, d_nll), None, None, None

    sum_nll.defvjp(forward, backward)
    return sum_nll


def scale_grads(grads: tuple, scale: Float[Array, ""]) -> tuple:
    """Returns scale * gradient of each array, in the array's dtype."""
    return jax.tree.map(lambda g: (scale * g.astype(scale.dtype)).astype(g.dtype), grads)


def _size(table: Any) -> int:
    return sum(array.size for array in jax.tree.leaves(table))


def _zero(table: Any) -> Float[Array, ""]:
    return jnp.zeros((), jax.tree.leaves(table)[0].dtype)


def in_blocks(
    arrays: tuple[Shaped[Array, "T B ..."], ...], num_logits: int, table_size: int
) -> tuple[Shaped[Array, "K N ..."], ...]:
    """Splits arrays into K blocks of N = T * B / K positions, as few as `BLOCK_LOGITS` allows.

    T and B are merged here: if the logits of a block were reshaped for its products, XLA would
    compute their gradient twice, once for each shape.

    Args:
      arrays: whose first two axes are split.
      num_logits: of one token.
      table_size: numbers in the table.
    """
    num_steps, batch_size = arrays[0].shape[:2]
    logits_of_step = batch_size * num_logits
    max_logits = max(BLOCK_LOGITS, 2 * table_size)
    num_blocks = next(
        (
            n
            for n in range(1, num_steps)
            if num_steps % n == 0 and num_steps // n * logits_of_step <= max_logits
        ),
        num_steps,
    )
    return tuple(a.reshape(num_blocks, -1, *a.shape[2:]) for a in arrays)


def by_members(
    block_nll: Callable[[Any, Array, Array], Array], num_logits: Callable[[Any], int]
) -> Callable[..., tuple[Array, Array]]:
    """Returns a sum over some of the tokens, as many blocks of them as there are; see `by_blocks`.

    It takes (params, hs, targets, weights, is_member). Tokens that are no members have an NLL of 0.

    Args:
      block_nll: maps (params, hs [N, D], targets [N]) to the NLL of each token, [N].
      num_logits: maps the params to the number of logits of one token.
    """

    def weighted(params: Any, hs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        nll = block_nll(params, hs, targets)
        return jnp.sum(weights * nll), nll

    @jax.custom_vjp
    def sum_members(
        params: Any,
        hs: Float[Array, "T B D"],
        targets: Int[Array, "T B"],
        weights: Float[Array, "T B"],
        is_member: Bool[Array, "T B"],
    ) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
        def step(members: Array, sums: tuple) -> tuple[Array, Array]:
            total, nll = sums
            block_total, block_nll = weighted(params, *_take(members, hs, targets, weights))
            return total + block_total, _put(members, nll, block_nll)

        zeros = _zero(params), jnp.zeros(targets.size, _zero(params).dtype)
        total, nll = _over_members(step, zeros, is_member, num_logits(params))
        return total, nll.reshape(targets.shape)

    def forward(
        params: Any, hs: Array, targets: Array, weights: Array, is_member: Array
    ) -> tuple[tuple[Array, Array], tuple]:
        value_and_grad = jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True)

        def step(members: Array, sums: tuple) -> tuple:
            total_and_grads, nll, d_hs = sums
            arguments = _take(members, hs, targets, weights)
            (block_total, block_nll), (d_params, d_h) = value_and_grad(params, *arguments)
            return (
                jax.tree.map(jnp.add, total_and_grads, (block_total, d_params)),
                _put(members, nll, block_nll),
                _put(members, d_hs, d_h),
            )

        rows = hs.reshape(-1, hs.shape[-1])
        sums = jax.tree.map(jnp.zeros_like, (_zero(params), params))
        zeros = sums, jnp.zeros(targets.size, _zero(params).dtype), jnp.zeros_like(rows)
        (total, d_params), nll, d_hs = _over_members(step, zeros, is_member, num_logits(params))
        return (total, nll.reshape(targets.shape)), (d_params, d_hs.reshape(hs.shape))

    def backward(grads: tuple, d_outputs: tuple[Array, Array]) -> tuple:
        return *scale_grads(grads, d_outputs[0]), None, None, None

    sum_members.defvjp(forward, backward)
    return sum_members


def _over_members(
    step: Callable[[Int[Array, "N"], Any], Any],
    sums: Any,
    is_member: Bool[Array, "T B"],
    num_logits: int,
) -> Any:
    """Calls `step` on blocks of the indices of members, as many as there are; T * B fills up."""
    num_tokens = is_member.size
    block = min(num_tokens, max(BLOCK_TOKENS, BLOCK_LOGITS // num_logits))
    size = -(-num_tokens // block) * block
    (members,) = jnp.nonzero(is_member.ravel(), size=size, fill_value=num_tokens)
    num_blocks = (jnp.sum(is_member) + block - 1) // block

    def body(i: Int[Array, ""], sums: Any) -> Any:
        return step(jax.lax.dynamic_slice_in_dim(members, i * block, block), sums)

    return jax.lax.fori_loop(0, num_blocks, body, sums)


def _take(members: Int[Array, "N"], *arrays: Array) -> tuple[Array, ...]:
    """The members of arrays [T, B, ...]; 0 from their end on."""
    flat = (a.reshape(-1, *a.shape[2:]) for a in arrays)
    return tuple(a.at[members].get(mode="fill", fill_value=0) for a in flat)


def _put(members: Int[Array, "N"], array: Array, values: Array) -> Array:
    return array.at[members].set(values, mode="drop")
