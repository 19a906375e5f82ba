"""Exercises of bits: their plans, and how many bits of an answer are wrong."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from awd_jax.batches import Bits
from awd_jax.data.bits import EXERCISES, BitPlan, even_plan, training_plan
from awd_jax.models.bits import BitModel
from awd_jax.run.replicas import AXIS, Replicas
from awd_jax.train.problem import Problem, make_model


def bits_problem(config: ConfigDict) -> Problem:
    """Returns the problem of a model that answers with bits, whose data are made on the fly.

    What a vocabulary is of text, the channels of targets and of inputs are here.
    """
    data, options = config.data, config.train
    exercise = EXERCISES[data.corpus]
    lengths = range(data.min_length, data.max_length + 1)
    test_lengths = range(data.test_length, data.test_length + 1) if data.test_length else lengths
    num_bits = len(exercise.targets)

    def evaluation(lengths: range, batch_size: int, split: int) -> BitPlan:
        size = (data.eval_batches, batch_size)
        return even_plan(data.corpus, lengths, data.max_repeats, size, split)

    return Problem(
        model=make_model(config.model, num_bits, source_vocab_size=len(exercise.inputs)),
        train=functools.partial(
            training_plan,
            *(data.corpus, lengths, data.max_repeats),
            *((data.train_batches, options.batch_size), options.seed),
        ),
        valid=evaluation(lengths, options.valid_batch_size, 1),
        test=evaluation(test_lengths, options.test_batch_size, 2),
        vocabulary=exercise.targets,
        fingerprint={},
        notes=(
            f"{data.corpus}: lengths {lengths[0]} to {lengths[-1]} in training,"
            f" {test_lengths[0]} to {test_lengths[-1]} in the test",
        ),
        describe_nll=lambda nll: f"{nll / math.log(2):.4f} of {num_bits} bits a step",
        guessing_nll=num_bits * math.log(2),
        source_nll=None,
        make_measure=make_measure if options.measures else None,
        source_vocabulary=exercise.inputs,
    )


def make_measure(
    model: BitModel, replicas: Replicas, between_batches: Callable[[], None]
) -> Callable[[optax.Params, BitPlan], dict[str, float]]:
    """Returns a function from (params, plan) to the wrong bits of a sequence, on average.

    Args:
      model: answers; a bit is 1 if its probability is above a half.
      replicas: the devices.
      between_batches: called after each batch; may raise to end the measuring.
    """

    def count(params: optax.Params, batch: Bits) -> Int[Array, ""]:
        _, logits = model.run(params, batch.inputs)
        is_wrong = (logits > 0) != (batch.targets > 0.5)
        num_wrong = jnp.sum(is_wrong & (batch.weights > 0)[..., None], dtype=jnp.int32)
        return jax.lax.psum(num_wrong, AXIS)

    count_wrong = replicas.pmap(count, (None, 0), None, ())

    def measure(params: optax.Params, plan: BitPlan) -> dict[str, float]:
        width = replicas.width(plan.num_sequences)
        params = replicas.put(params, None, donate=False)
        counts = []
        for batch in plan.part(replicas.share(plan.num_sequences)):
            counts.append(count_wrong(params, replicas.split(batch, width)))
            jax.block_until_ready(counts[-2:-1])  # the device is one batch behind at most
            between_batches()
        num_wrong = int(np.sum(jax.device_get(counts)))
        return {"wrong_bits": num_wrong / (plan.num_sequences * len(plan))}

    return measure
