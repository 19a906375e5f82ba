"""Groups of layers with rates of their own, the lower ones frozen at first (ULMFiT).

Howard and Ruder 2018 (arXiv 1801.06146), sections 3.2 (discriminative rates) and 3.3 (gradual
unfreezing). Group 0 is the embedding, then comes one for each layer, and the last has the rest.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32
from ml_collections import ConfigDict

from awd_jax.core import batch_norm


def num_groups(config: ConfigDict) -> int:
    """Returns the number of groups with rates of their own; 0 if all layers have the same."""
    own = config.optimizer.layer_rate_factor != 1 or config.optimizer.thaw_epochs > 0
    return config.model.num_layers + 2 if own or config.model.name == "classifier" else 0


def group_rates(
    config: ConfigDict, count: int, rate: float, epoch: int
) -> Float32[np.ndarray, "G"]:
    """Returns the rate of each group in an epoch, 0 for a frozen one.

    Args:
      config: the group `optimizer`.
      count: number of groups.
      rate: of the last group.
      epoch: from 1 on.
    """
    depths = np.arange(count)[::-1]
    thawed = 1 + (epoch - 1) // config.thaw_epochs if config.thaw_epochs else count
    return np.where(depths < thawed, rate * config.layer_rate_factor**depths, 0).astype(np.float32)


def group_of(params: Any) -> Any:
    """Returns the group of each parameter of a recurrent model or a classifier, by their names."""

    def names(path: Any) -> list[str]:
        keys = [key.key for key in path]
        return keys[1:] if keys[0] == "encoder" else keys

    def find(path: Any, _: Array) -> int:
        first = names(path)[0]
        layer = re.fullmatch(r"(?!block)\w+_(\d+)", first)
        return 0 if first == "embedding" else int(layer[1]) + 1 if layer else -1

    groups = jax.tree_util.tree_map_with_path(find, params)
    last = max(jax.tree.leaves(groups)) + 1
    return jax.tree.map(lambda group: last if group < 0 else group, groups)


def of_trained_groups(
    inner: optax.GradientTransformation, count: int, max_grad_norm: float
) -> optax.GradientTransformationExtraArgs:
    """Returns the clip, and `inner` on each group of its own, for `update(learning_rate=rates)`.

    A group whose rate is 0 is frozen: its gradient does not count in the norm, it has no weight
    decay, and the moments and counts of `inner` begin when it thaws.
    """
    clip = optax.clip_by_global_norm(max_grad_norm)
    apart = optax.partition({g: _while_trained(inner, g) for g in range(count)}, group_of)

    def update(updates: Any, state: Any, params: Any = None, *, learning_rate: Array) -> Any:
        updates = by_rate(updates, learning_rate, lambda u, rate: jnp.where(rate > 0, u, 0))
        updates, _ = clip.update(updates, optax.EmptyState())
        return apart.update(updates, state, params, learning_rate=learning_rate)

    return optax.GradientTransformationExtraArgs(apart.init, update)


def by_rate(tree: Any, rates: Float[Array, "*G"], function: Any) -> Any:
    """Maps `function` over arrays and the rate of each one's group; a single rate is of all."""
    if rates.ndim == 0:
        return jax.tree.map(lambda array: function(array, rates), tree)
    return jax.tree.map(lambda array, group: function(array, rates[group]), tree, group_of(tree))


def with_statistics(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Returns `inner` for all parameters but the running ones of batch normalisation.

    Those go down their own gradients at the rate `batch_norm.MOMENTUM`, whatever the other does.
    """

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        others = without_statistics(updates)
        others, state = optax.with_extra_args_support(inner).update(others, state, params, **extra)
        return jax.tree_util.tree_map_with_path(
            lambda path, u, other: -batch_norm.MOMENTUM * u if _is_statistic(path) else other,
            updates,
            others,
        ), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def without_statistics(grads: Any) -> Any:
    """Returns gradients with 0 for batch normalisation's running means, which have distances."""
    return jax.tree_util.tree_map_with_path(
        lambda path, g: jnp.zeros_like(g) if _is_statistic(path) else g, grads
    )


def _is_statistic(path: Any) -> bool:
    return bool(path) and getattr(path[-1], "key", None) in batch_norm.STATISTICS


def _while_trained(
    inner: optax.GradientTransformation, group: int
) -> optax.GradientTransformationExtraArgs:
    def update(updates: Any, state: Any, params: Any = None, *, learning_rate: Array) -> Any:
        is_on = learning_rate[group] > 0
        moved, after = inner.update(updates, state, params)
        return jax.tree.map(
            lambda new, old: jnp.where(is_on, new, old), (moved, after), (updates, state)
        )

    return optax.GradientTransformationExtraArgs(inner.init, update)
