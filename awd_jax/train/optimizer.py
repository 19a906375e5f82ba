"""The optimizer chain and the learning rate of each window."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import nt_asgd
from awd_jax.train.groups import by_rate, of_trained_groups, with_statistics


def make_optimizer(
    config: ConfigDict, average_from_start: bool = False, num_groups: int = 0, num_updates: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Returns the chain clip, L2, (Adam), schedule, times -learning_rate, (averaging).

    So the gradients of AR and TAR are clipped but the L2 term is not, and the L2 term passes
    through Adam, as in torch's Adam.

    Args:
      config: the group `optimizer`.
      average_from_start: for finetuning; the state has the same structure.
      num_groups: of layers that have rates of their own, and are decayed and scaled apart; 0: none.
      num_updates: of the whole run, for the schedule slanted.

    Returns:
      A transformation whose `update` takes the keyword `learning_rate`, a scalar or one for each
      group, that belongs to the window and not to the state.
    """
    clip = optax.clip_by_global_norm(config.max_grad_norm)
    decay = optax.add_decayed_weights(config.weight_decay)
    adam = optax.scale_by_adam(b1=config.adam_beta1, b2=config.adam_beta2)
    scale = (decay, adam if config.name == "adam" else optax.identity())
    after = (*_of_updates(config, num_updates), descend())
    average = nt_asgd(config.nonmono, average_from_start) if config.averaging else optax.identity()
    if not num_groups:
        return optax.chain(clip, *scale, *after, average)
    scaled = of_trained_groups(optax.chain(*scale), num_groups, config.max_grad_norm)
    return optax.chain(with_statistics(optax.chain(scaled, *after)), average)


def _of_updates(config: ConfigDict, num_updates: int) -> list[optax.GradientTransformation]:
    """The factors of the rate that a config has: the schedule's, and the embedding's."""
    factors = []
    if config.schedule != "constant" or config.warmup_steps:
        factors.append(optax.scale_by_schedule(rate_schedule(config, num_updates)))
    if config.embed_rate_factor != 1:
        scale = optax.scale(config.embed_rate_factor)
        factors.append(optax.masked(scale, lambda params: {n: "embedding" in n for n in params}))
    return factors


def rate_schedule(config: ConfigDict, num_updates: int = 0) -> optax.Schedule:
    """Returns the factor of the rate, from the number of updates before this one.

    Update n of a warm-up has n / warmup_steps, so the first one is not lost.

    Args:
      config: the group `optimizer`.
      num_updates: of the whole run, for slanted.
    """
    warmup = config.warmup_steps
    match config.schedule:
        case "cosine":
            num_steps = config.schedule_steps - warmup
            after = optax.cosine_decay_schedule(1.0, num_steps, config.final_rate_factor)
        case "halving":
            half = config.schedule_steps // 2
            after = optax.exponential_decay(
                *(1.0, half / config.num_halvings, 0.5),
                transition_begin=half - warmup,
                staircase=True,
                end_value=0.5**config.num_halvings,
            )
        case "slanted":  # Howard and Ruder 2018, section 3.2
            cut = max(num_updates // 10, 1)
            rise = optax.linear_schedule(1 / 32, 1.0, cut)
            return optax.join_schedules(
                [rise, optax.linear_schedule(1.0, 1 / 32, max(num_updates - cut, 1))], [cut]
            )
        case "inverse_sqrt":
            after = lambda count: jnp.sqrt(max(warmup, 1) / (warmup + 1 + count))  # noqa: E731
        case _:
            after = optax.constant_schedule(1.0)
    if not warmup:
        return after
    rising = optax.linear_schedule(1 / warmup, 1 + 1 / warmup, warmup)
    return optax.join_schedules([rising, after], [warmup])


def descend() -> optax.GradientTransformationExtraArgs:
    """Returns a transformation that multiplies by minus the `learning_rate` given to `update`.

    It may be one for all, or one for each group of layers.
    """

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        learning_rate: jax.Array | float,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, extra_args
        return by_rate(updates, jnp.asarray(learning_rate), lambda u, rate: -rate * u), state

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
