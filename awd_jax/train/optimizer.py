"""The optimizer chain and the learning rate of each window."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import nt_asgd


def make_optimizer(
    config: ConfigDict, average_from_start: bool = False
) -> optax.GradientTransformationExtraArgs:
    """clip, L2, (Adam), times -learning_rate, averaging: in this order.

    So the gradients of AR and TAR are clipped and the L2 term is not; and L2
    goes through Adam, as in torch's Adam.

    Args:
      config: the group `optimizer`.
      average_from_start: of finetuning; the state is of the same form.

    Returns:
      A transformation whose `update` takes the keyword `learning_rate`, a
      scalar: it belongs to the window, not to the state.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_adam() if config.name == "adam" else optax.identity(),
        descend(),
        nt_asgd(config.nonmono, average_from_start) if config.averaging else optax.identity(),
    )


def descend() -> optax.GradientTransformationExtraArgs:
    """Multiplies by minus the `learning_rate` given to `update`."""

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


def learning_rate(config: ConfigDict, epoch: int, length: int, bptt: int, batch_size: int) -> float:
    """The rate of one window (Merity et al. 2018, 4.1): proportional to its length.

    Proportional to the batch too, where the config says for which batch its rate is
    meant (Goyal et al. 2017, arXiv 1706.02677: the linear scaling rule).

    Args:
      config: the group `optimizer`.
      epoch: from 1 on.
      length: tokens of the window.
      bptt: the length that has the config's own rate.
      batch_size: sequences side by side, over all devices.
    """
    batch_factor = batch_size / config.base_batch_size if config.base_batch_size else 1.0
    num_decays = sum(epoch > decay_epoch for decay_epoch in config.decay_epochs)
    return config.learning_rate * 0.1**num_decays * length / bptt * batch_factor
