"""What all models of text in flax share: named parameters, scores, and next-token probabilities.

A model has a `head` and, bound to parameters, its own ones of the head (`own`) and the `embedding`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.serialization import from_state_dict, to_state_dict
from jaxtyping import Array, Float, Int, Key

from awd_jax.core import masks as dropout
from awd_jax.core.unroll import Features
from awd_jax.models.contract import Carry, Params, Score

Run = Callable[[Any], tuple[Features, Carry]]  # from a model that is bound to parameters


def declare(module: nn.Module, name: str, init: Callable[..., Any], *sizes: int) -> Any:
    """Declares a NamedTuple of parameters; flax stores it as a dict, so leaves have names."""
    shapes = jax.eval_shape(lambda key: init(key, *sizes), jax.random.key(0))
    if not jax.tree.leaves(shapes):  # no name: the flat names of `interchange` would lose it
        return shapes
    return from_state_dict(shapes, module.param(name, lambda key: to_state_dict(init(key, *sizes))))


def row_params(softmax: str) -> tuple[str, ...]:
    """Returns the names of the parameters with one row per token, under a head of HEADS."""
    if softmax == "adaptive":  # the other rows are in several arrays
        return ("softmax.bias",)
    own = ("softmax.table",) * (softmax == "separate")
    return ("embedding", *own, "softmax.bias")


def init_params(model: Any, key: Key[Array, ""]) -> Params:
    """Draws the parameters; unlike flax's `init`, without an example batch."""
    return model.init(key, method=lambda model: model.own)["params"]


def by_fan_in(key: Key[Array, ""], params: Params) -> Params:
    """Draws parameters like these: matrices from N(0, 1 / inputs), vectors of tokens from
    N(0, 1e-4); vectors become 0."""

    def draw(path: Any, key: Key[Array, ""], like: Array) -> Array:
        name = jax.tree_util.keystr(path)
        if like.ndim < 2:
            return jnp.zeros_like(like)
        is_of_rows = name.endswith(("['table']", "['clusters']"))  # products have it transposed
        inputs = like.shape[-1] if is_of_rows else like.shape[0]
        is_of_tokens = "embedding" in name and "['projections']" not in name
        deviation = 0.01 if is_of_tokens else inputs**-0.5
        return deviation * jax.random.normal(key, like.shape)

    leaves, structure = jax.tree.flatten(params)
    keys = jax.tree.unflatten(structure, [*jax.random.split(key, len(leaves))])
    return jax.tree_util.tree_map_with_path(draw, keys, params)


def look_up(
    bound: Any, inputs: Int[Array, "T B"], mask: Float[Array, "V 1"] | None
) -> Float[Array, "T B E"]:
    """Returns the vectors of tokens, with embedding dropout: of the rows looked up, not all V."""
    xs: Array = bound.head.look_up(bound.embedding, inputs)
    return dropout.apply_rows(mask, inputs, xs)


def score(model: Any, params: Params, batch: Any, masks: Any, features: Run) -> Score:
    """Scores a batch by its features, without holding all of its logits in memory."""

    def scored(bound: Any) -> Score:
        found, after = features(bound)
        nll, token_nll = model.head.sum_nll(
            bound.own,
            bound.embedding,
            found.dropped_hs,
            batch.targets,
            batch.weights,
            None if masks is None else masks.head,
        )
        return Score(nll, jax.lax.stop_gradient(token_nll), found, after)

    result: Any = model.apply({"params": params}, method=scored)
    return result


def log_probs(model: Any, params: Params, features: Run) -> tuple[Float[Array, "T B V"], Carry]:
    """Returns the log-probability of every token after each input, in nats, and the carry."""

    def scored(bound: Any) -> tuple[Array, Carry]:
        found, after = features(bound)
        return model.head.log_probs(bound.own, bound.embedding, found.dropped_hs), after

    result: Any = model.apply({"params": params}, method=scored)
    return result
