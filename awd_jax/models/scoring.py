"""What all language models in flax share: named parameters, scores, and next-token probabilities.

A model has `features(inputs, carry, masks, length) -> (Features, carry)`, a `head`, and, bound to
parameters, its own ones of the head (`own`) and the `embedding`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from flax.serialization import from_state_dict, to_state_dict
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Window
from awd_jax.models.contract import Carry, Params, Score


def declare(module: nn.Module, name: str, init: Callable[..., Any], *sizes: int) -> Any:
    """Declares a NamedTuple of parameters; flax stores it as a dict, so leaves have names."""
    shapes = jax.eval_shape(lambda key: init(key, *sizes), jax.random.key(0))
    return from_state_dict(shapes, module.param(name, lambda key: to_state_dict(init(key, *sizes))))


def row_params(softmax: str) -> tuple[str, ...]:
    """Returns the names of the parameters with one row per token, under a head of HEADS."""
    # The rows of an adaptive softmax are in several arrays.
    return ("softmax.bias",) if softmax == "adaptive" else ("embedding", "softmax.bias")


def init_params(model: Any, key: Key[Array, ""]) -> Params:
    """Draws the parameters; unlike flax's `init`, without an example batch."""
    return model.init(key, method=lambda model: model.own)["params"]


def look_up(
    bound: Any, inputs: Int[Array, "T B"], mask: Float[Array, "V 1"] | None
) -> Float[Array, "T B E"]:
    """Returns the vectors of tokens, with embedding dropout: of the rows looked up, not all V."""
    xs: Array = bound.head.look_up(bound.embedding, inputs)
    return xs if mask is None else mask[inputs] * xs


def score(model: Any, params: Params, batch: Window, carry: Carry, masks: Any) -> Score:
    """Scores a window, without holding all of its logits in memory."""

    def scored(bound: Any) -> Score:
        features, after = bound.features(batch.inputs, carry, masks, batch.length)
        nll, token_nll = model.head.sum_nll(
            bound.own,
            bound.embedding,
            features.dropped_hs,
            batch.targets,
            batch.weights,
            None if masks is None else masks.head,
        )
        return Score(nll, jax.lax.stop_gradient(token_nll), features, after)

    result: Any = model.apply({"params": params}, method=scored)
    return result


def log_probs(
    model: Any, params: Params, inputs: Int[Array, "T B"], carry: Carry
) -> tuple[Float[Array, "T B V"], Carry]:
    """Returns the log-probability of every token after each input, in nats, and the carry."""

    def scored(bound: Any) -> tuple[Array, Carry]:
        features, after = bound.features(inputs, carry)
        return model.head.log_probs(bound.own, bound.embedding, features.dropped_hs), after

    result: Any = model.apply({"params": params}, method=scored)
    return result
