"""Attention of a decoder to a memory, the states of an encoder.

A query q, a state of the decoder, has a score with each state s of the memory. The weights are the
softmax of the scores over the real positions of a source, and the context is the weighted mean of
the memory. Luong, Pham and Manning 2015 (arXiv 1508.04025, section 3.1); `additive`: Bahdanau, Cho
and Bengio 2015 (arXiv 1409.0473).

| name | score |
|---|---|
| dot | q . s |
| scaled | g (q . s) |
| general | q . (s @ w) |
| concat | v . tanh([q; s] @ w) |
| additive | v . tanh(q @ w_query + s @ w_memory) |
| normed_additive | g v / |v| . tanh(q @ w_query + s @ w_memory + b) |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from awd_jax.core.draws import uniform
from awd_jax.core.product import multiply, product

Params = Any  # a NamedTuple of arrays; () if there are none


class Memory(NamedTuple):
    """What a decoder attends to."""

    states: Float[Array, "B S M"]
    keys: Float[Array, "B S A"] | None  # what scores are made of; None: the states
    is_real: Bool[Array, "B S"]  # at least one of each source


class Alignment(NamedTuple):
    """A kind of score, as pure functions."""

    init: Callable[..., Params]  # (key, Q, M, A) -> params
    make_keys: Callable[..., Array | None]  # (params, states [B, S, M]) -> keys [B, S, A]
    scores: Callable[..., Array]  # (params, queries [T, B, Q], keys [B, S, A]) -> [T, B, S]


def make_memory(
    alignment: Alignment,
    params: Params,
    hs: Float[Array, "S B M"],
    is_real: Bool[Array, "S B"],
) -> Memory:
    """Returns the memory of an encoder's outputs; those that are padding become 0."""
    states = jnp.where(is_real[:, :, None], hs, 0).swapaxes(0, 1)
    return Memory(states, alignment.make_keys(params, states), is_real.T)


def attend(
    alignment: Alignment, params: Params, queries: Float[Array, "T B Q"], memory: Memory
) -> tuple[Float[Array, "T B M"], Float[Array, "T B S"]]:
    """Returns the context of each query and its weights, which are 0 at padding."""
    keys = memory.states if memory.keys is None else memory.keys
    scores = alignment.scores(params, queries, keys)
    weights = jax.nn.softmax(jnp.where(memory.is_real[None], scores, -jnp.inf))
    states = memory.states
    contexts = multiply("tbs,bsm->tbm", weights.astype(states.dtype), states, weights.dtype)
    return contexts.astype(queries.dtype), weights


# ---- products: dot, scaled, general ----


def _dot(queries: Float[Array, "T B A"], keys: Float[Array, "B S A"]) -> Float[Array, "T B S"]:
    wide = max(queries.dtype, jnp.dtype(jnp.float32), key=lambda dtype: dtype.itemsize)
    return multiply("tba,bsa->tbs", queries, keys.astype(queries.dtype), wide)


def _check_widths(name: str, query_dim: int, memory_dim: int) -> None:
    if query_dim != memory_dim:
        raise ValueError(
            f"attention {name}: the decoder's states have {query_dim} features, the encoder's "
            f"{memory_dim}, and must have as many"
        )


def _init_dot(key: Key[Array, ""], query_dim: int, memory_dim: int, dim: int) -> tuple[()]:
    del key, dim
    _check_widths("dot", query_dim, memory_dim)
    return ()


class ScaledParams(NamedTuple):
    """Parameters of `scaled`."""

    g: Float[Array, ""]


def _init_scaled(key: Key[Array, ""], query_dim: int, memory_dim: int, dim: int) -> ScaledParams:
    del key, dim
    _check_widths("scaled", query_dim, memory_dim)
    return ScaledParams(jnp.ones(()))


class GeneralParams(NamedTuple):
    """Parameters of `general`."""

    w: Float[Array, "M Q"]


def _init_general(key: Key[Array, ""], query_dim: int, memory_dim: int, dim: int) -> GeneralParams:
    del dim
    return GeneralParams(uniform(key, (memory_dim, query_dim), memory_dim))


def _no_keys(params: Params, states: Float[Array, "B S M"]) -> None:
    del params, states


# ---- sums: concat, additive, normed_additive ----


class ConcatParams(NamedTuple):
    """Parameters of `concat`."""

    w: Float[Array, "Q+M A"]
    v: Float[Array, "A"]


class AdditiveParams(NamedTuple):
    """Parameters of `additive`."""

    w_query: Float[Array, "Q A"]
    w_memory: Float[Array, "M A"]
    v: Float[Array, "A"]


class NormedParams(NamedTuple):
    """Parameters of `normed_additive`."""

    w_query: Float[Array, "Q A"]
    w_memory: Float[Array, "M A"]
    v: Float[Array, "A"]
    b: Float[Array, "A"]
    g: Float[Array, ""]


def _init_concat(key: Key[Array, ""], query_dim: int, memory_dim: int, dim: int) -> ConcatParams:
    key_w, key_v = jax.random.split(key)
    num_inputs = query_dim + memory_dim
    return ConcatParams(uniform(key_w, (num_inputs, dim), num_inputs), uniform(key_v, (dim,), dim))


def _init_additive(
    key: Key[Array, ""], query_dim: int, memory_dim: int, dim: int
) -> AdditiveParams:
    key_query, key_memory, key_v = jax.random.split(key, 3)
    return AdditiveParams(
        uniform(key_query, (query_dim, dim), query_dim),
        uniform(key_memory, (memory_dim, dim), memory_dim),
        uniform(key_v, (dim,), dim),
    )


def _init_normed(key: Key[Array, ""], query_dim: int, memory_dim: int, dim: int) -> NormedParams:
    params = _init_additive(key, query_dim, memory_dim, dim)
    return NormedParams(*params, b=jnp.zeros(dim), g=jnp.asarray(dim**-0.5))


def _concat_keys(params: ConcatParams, states: Float[Array, "B S M"]) -> Float[Array, "B S A"]:
    return product(states, params.w[-states.shape[-1] :]).astype(states.dtype)


def _concat_scores(
    params: ConcatParams, queries: Float[Array, "T B Q"], keys: Float[Array, "B S A"]
) -> Float[Array, "T B S"]:
    return _of_sums(product(queries, params.w[: queries.shape[-1]]), keys, params.v)


def _additive_keys(
    params: AdditiveParams | NormedParams, states: Float[Array, "B S M"]
) -> Float[Array, "B S A"]:
    return product(states, params.w_memory).astype(states.dtype)


def _additive_scores(
    params: AdditiveParams, queries: Float[Array, "T B Q"], keys: Float[Array, "B S A"]
) -> Float[Array, "T B S"]:
    return _of_sums(product(queries, params.w_query), keys, params.v)


def _normed_scores(
    params: NormedParams, queries: Float[Array, "T B Q"], keys: Float[Array, "B S A"]
) -> Float[Array, "T B S"]:
    v = params.g * params.v / jnp.linalg.norm(params.v)
    return _of_sums(product(queries, params.w_query) + params.b[None, None], keys, v)


@jax.checkpoint  # the backward pass makes the sums once more: they have T * B * S * A entries
def _of_sums(
    queries: Float[Array, "T B A"], keys: Float[Array, "B S A"], v: Float[Array, "A"]
) -> Float[Array, "T B S"]:
    sums = queries[:, :, None] + keys[None].astype(queries.dtype)
    return jnp.sum(v[None, None, None] * jnp.tanh(sums), axis=-1)


ALIGNMENTS = {
    "dot": Alignment(_init_dot, _no_keys, lambda _, queries, keys: _dot(queries, keys)),
    "scaled": Alignment(
        _init_scaled, _no_keys, lambda params, queries, keys: params.g * _dot(queries, keys)
    ),
    "general": Alignment(
        _init_general,
        lambda params, states: product(states, params.w).astype(states.dtype),
        lambda _, queries, keys: _dot(queries, keys),
    ),
    "concat": Alignment(_init_concat, _concat_keys, _concat_scores),
    "additive": Alignment(_init_additive, _additive_keys, _additive_scores),
    "normed_additive": Alignment(_init_normed, _additive_keys, _normed_scores),
}


# ---- the attentional state ----


class CombineParams(NamedTuple):
    """Parameters of `combine`."""

    w: Float[Array, "M+H D"]


def init_combine(
    key: Key[Array, ""], memory_dim: int, hidden_dim: int, output_dim: int
) -> CombineParams:
    """Draws the matrix as `uniform` does."""
    num_inputs = memory_dim + hidden_dim
    return CombineParams(uniform(key, (num_inputs, output_dim), num_inputs))


def combine(
    params: CombineParams, contexts: Float[Array, "T B M"], hs: Float[Array, "T B H"]
) -> Float[Array, "T B D"]:
    """Returns tanh([context; h] @ w), Luong's attentional state (section 3, equation 5)."""
    both = jnp.concatenate([contexts, hs], axis=-1)
    return jnp.tanh(product(both, params.w)).astype(hs.dtype)
