"""Decodes a batch of texts token by token, greedily or by sampling, as one program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from awd_jax.core.sampling import sample_token

NextLogProbs = Callable[[Any, Int[Array, "B"]], tuple[Float[Array, "B V"], Any]]
# (log-probabilities of the next token, number of the step) -> the chosen token
Choose = Callable[[Float[Array, "B V"], Int[Array, ""]], Int[Array, "B"]]


class Decoded(NamedTuple):
    """One text for each of a batch."""

    tokens: Int[Array, "B T"]  # from its end on, a text holds `end` only
    log_probs: Float[Array, "B"]  # sum over the tokens up to the end, in nats
    lengths: Int[Array, "B"]  # tokens up to the end, which counts


State = tuple[Int[Array, ""], Decoded, Int[Array, "B"], Any]  # step, texts, last tokens, carry


def decode(
    next_log_probs: NextLogProbs,
    choose: Choose,
    carry: Any,
    first: Int[Array, "B"],
    end: int,
    num_tokens: int,
) -> Decoded:
    """Decodes until all texts have ended, or have `num_tokens`.

    Args:
      next_log_probs: maps (carry, last token of each text) to the log-probabilities of the next
        token and the new carry.
      choose: `choose_best`, or what `sampler` returns.
      carry: state before the first token of each text.
      first: the token before the first one of each text.
      end: the token that ends a text.
      num_tokens: T.
    """

    def has_ended(t: Int[Array, ""], last: Int[Array, "B"]) -> Bool[Array, "B"]:
        return (t > 0) & (last == end)  # `first` may be `end` as well

    def goes_on(state: State) -> Bool[Array, ""]:
        t, _, last, _ = state
        return (t < num_tokens) & ~jnp.all(has_ended(t, last))

    def step(state: State) -> State:
        t, decoded, last, carry = state
        log_probs, carry = next_log_probs(carry, last)
        is_ended = has_ended(t, last)
        tokens = jnp.where(is_ended, end, choose(log_probs, t))
        found = jnp.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
        decoded = Decoded(
            decoded.tokens.at[:, t].set(tokens),
            decoded.log_probs + jnp.where(is_ended, 0.0, found),
            decoded.lengths + (~is_ended).astype(jnp.int32),
        )
        return t + 1, decoded, tokens, carry

    (batch_size,) = first.shape
    nothing = Decoded(
        jnp.full((batch_size, num_tokens), end, jnp.int32),
        jnp.zeros(batch_size),
        jnp.zeros(batch_size, jnp.int32),
    )
    return jax.lax.while_loop(goes_on, step, (jnp.int32(0), nothing, first, carry))[1]


def choose_best(log_probs: Float[Array, "B V"], t: Int[Array, ""]) -> Int[Array, "B"]:
    """Returns the most probable token of each text."""
    del t
    return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)


def sampler(
    keys: Key[Array, "B"], keep: Callable[[Float[Array, "B V"]], Float[Array, "B V"]]
) -> Choose:
    """Returns a choice by sampling, which draws the same whatever else is in the batch.

    Args:
      keys: of each text; token t is drawn with `fold_in(key, t)`.
      keep: filters log-probabilities, as the functions of `sampling` do.
    """

    def choose(log_probs: Float[Array, "B V"], t: Int[Array, ""]) -> Int[Array, "B"]:
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, t)
        return jax.vmap(sample_token)(step_keys, keep(log_probs))

    return choose
