"""Mean NLL of a whole split."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax

from awd_jax.batches import Plan
from awd_jax.models.contract import Model
from awd_jax.run.replicas import Replicas
from awd_jax.train.step import EVAL_AXES, make_eval_step


def make_evaluate(
    model: Model, replicas: Replicas, between_batches: Callable[[], None] = lambda: None
) -> Callable[[optax.Params, Plan], float]:
    """Returns a function (params, plan) -> mean NLL in nats per token.

    The carry passes from the first batch to the last. `between_batches` is called after each batch,
    and may raise to end the evaluation.
    """
    eval_step = replicas.pmap(make_eval_step(model), *EVAL_AXES)

    def evaluate(params: optax.Params, plan: Plan) -> float:
        width = replicas.width(plan.num_sequences)
        carry = replicas.split_carry(model.initial_carry(width))
        params, carry = replicas.put((params, carry), (None, 0), donate=False)
        sums = []
        for batch in plan.part(replicas.share(plan.num_sequences)):
            carry, nll = eval_step(params, carry, replicas.split(batch, width))
            sums.append(nll)
            jax.block_until_ready(sums[-2:-1])  # the device is one batch behind at most
            between_batches()
        # Each batch is summed in float32 on the device, and the batches in float64 here.
        return float(np.sum(jax.device_get(sums), dtype=np.float64)) / plan.num_tokens

    return evaluate


def outputs(
    function: Callable[..., Any],
    replicas: Replicas,
    params: optax.Params,
    plan: Plan,
    between_batches: Callable[[], None],
) -> Iterator[np.ndarray]:
    """Yields the rows [B, ...] that a function, as `Replicas.pmap` returns it, has of each batch.

    Every process gets those of the whole batch. `between_batches` is called after each.
    """
    width = replicas.width(plan.num_sequences)
    params = replicas.put(params, None, donate=False)
    for batch in plan.part(replicas.share(plan.num_sequences)):
        yield replicas.gather_carry(function(params, replicas.split(batch, width)))
        between_batches()
