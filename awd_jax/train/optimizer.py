"""The optimizer chain and the learning rate of each window."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import nt_asgd


def make_optimizer(
    config: ConfigDict, average_from_start: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Returns the chain clip, L2, (Adam), times -learning_rate, (averaging), in this order.

    So the gradients of AR and TAR are clipped but the L2 term is not, and the L2 term passes
    through Adam, as in torch's Adam.

    Args:
      config: the group `optimizer`.
      average_from_start: for finetuning; the state has the same structure.

    Returns:
      A transformation whose `update` takes the keyword `learning_rate`, a scalar that belongs to
      the window and not to the state.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_adam(b1=config.adam_beta1) if config.name == "adam" else optax.identity(),
        descend(),
        nt_asgd(config.nonmono, average_from_start) if config.averaging else optax.identity(),
    )


def descend() -> optax.GradientTransformationExtraArgs:
    """Returns a transformation that multiplies by minus the `learning_rate` given to `update`."""

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        learning_rate: jax.Array | float,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, extra_args
        return jax.tree.map(lambda u: -learning_rate * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def learning_rate(config: ConfigDict, epoch: int, batch_size: int, num_plateaus: int) -> float:
    """Returns the learning rate of an epoch.

    It is proportional to the batch size if the config names the batch size that its rate is meant
    for (the linear scaling rule, Goyal et al. 2017, arXiv 1706.02677).

    Args:
      config: the group `optimizer`.
      epoch: from 1 on.
      batch_size: parallel sequences, over all devices.
      num_plateaus: epochs so far without a new best validation loss.
    """
    batch_factor = batch_size / config.base_batch_size if config.base_batch_size else 1.0
    num_decays = sum(epoch > decay_epoch for decay_epoch in config.decay_epochs)
    decay = 0.1**num_decays * config.plateau_factor**num_plateaus
    return config.learning_rate * decay * batch_factor
