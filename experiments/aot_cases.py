"""The programs that aot_compile.py compiles: models, sizes and steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from awd_jax.batches import Counts, Pair, Window
from awd_jax.core.decoding import NextLogProbs, choose_best, decode, sampler
from awd_jax.core.sampling import keep_top_k
from awd_jax.data.windows import bucket, padded_length
from awd_jax.run.replicas import Replicas
from awd_jax.train.language import WINDOW_TOKENS
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.problem import make_model
from awd_jax.train.state import init_state
from awd_jax.train.step import EVAL_AXES, TRAIN_AXES, Regularisers, make_eval_step, make_train_step
from configs import default, enwik8, gnmt, ptb, wt2, wt103_transformer_xl

NUM_TOKENS = 64  # of a generated text


def wt103() -> ConfigDict:
    """An AWD-LSTM of WikiText-103's size under a full softmax."""
    config = default.get_config()
    config.model.hidden_dim = 1840
    config.train.batch_size, config.train.bptt = 60, 140
    return config


class Size(NamedTuple):
    """A recipe, and what it has of its corpus."""

    recipe: Callable[[], ConfigDict]
    vocab_size: int
    source_vocab_size: int = 0


SIZES = {
    "ptb": Size(ptb.get_config, 10_000),
    "wt2": Size(wt2.get_config, 33_278),
    "wt103": Size(wt103, 267_735),
    "enwik8": Size(enwik8.get_config, 205),
    "transformer_xl": Size(wt103_transformer_xl.get_config, 267_735),
    "gnmt": Size(gnmt.get_config, 36_548, 36_548),
}
STEPS = ("train", "evaluate", "generate")


class Case(NamedTuple):
    """A program to compile."""

    function: Any  # what `pmap` returns
    arguments: tuple  # shapes
    num_steps: int  # of its loops over time
    products: int  # FLOP of a device's matrix products, estimated from the parameters


def make_case(config: ConfigDict, size: Size, step: str, devices: list, batch_size: int) -> Case:
    """The program of a step for these devices and a batch over all of them."""
    sizes = {"source_vocab_size": size.source_vocab_size} if size.source_vocab_size else {}
    model = make_model(config.model, size.vocab_size, **sizes)
    n, b = len(devices), batch_size // len(devices)
    replicas = Replicas(devices)
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    num_steps = _num_steps(config, step, batch_size)
    batch = (_pair if sizes else _window)(num_steps, n, b)
    num_factors = sum(p.size for p in jax.tree.leaves(params) if p.ndim == 2)
    products = (6 if step == "train" else 2) * num_factors * num_steps * b
    if step == "train":
        optimizer = make_optimizer(config.optimizer)
        regularisers = Regularisers(
            config.train.activation_reg, config.train.temporal_activation_reg
        )
        function = replicas.pmap(
            make_train_step(model, optimizer, regularisers, seed=0), *TRAIN_AXES
        )
        state = jax.eval_shape(functools.partial(init_state, model, optimizer, 0, b * n))
        carry = _split(state.carry, n)
        return Case(function, (state._replace(carry=carry), batch, _floats()), num_steps, products)
    model = model.for_evaluation()
    carry = jax.eval_shape(functools.partial(model.initial_carry, b * n))
    if step == "evaluate":
        function = replicas.pmap(make_eval_step(model), *EVAL_AXES)
        return Case(function, (params, _split(carry, n), batch), num_steps, products)
    generate = _translate if sizes else _sample
    function = jax.pmap(functools.partial(generate, model), devices=devices, in_axes=(None, 0))
    first = batch if sizes else (_split(carry, n), jax.ShapeDtypeStruct((n, b), jnp.int32))
    return Case(function, (params, first), num_steps, products)


def _num_steps(config: ConfigDict, step: str, batch_size: int) -> int:
    if config.model.name == "seq2seq":
        return config.data.max_length + 1
    bptt = config.train.bptt
    match step:
        case "train":
            return padded_length(bptt, bptt)
        case "evaluate":
            return bucket(max(bptt, WINDOW_TOKENS // batch_size))
    return NUM_TOKENS


def _sample(model: Any, params: Any, start: tuple) -> Any:
    """Texts of a language model, of the 40 most probable tokens at each step."""
    carry, first = start
    keys = jax.random.split(jax.random.key(0), len(first))
    choose = sampler(keys, functools.partial(keep_top_k, k=40))
    return decode(_next_log_probs(model, params), choose, carry, first, 0, NUM_TOKENS)


def _translate(model: Any, params: Any, batch: Pair) -> Any:
    """The most probable token at each step, after reading the sources."""
    carry = model.read(params, batch.sources, batch.source_weights)
    first, num_tokens = batch.inputs[0], len(batch.inputs)
    return decode(_next_log_probs(model, params), choose_best, carry, first, 0, num_tokens)


def _next_log_probs(model: Any, params: Any) -> NextLogProbs:
    def next_log_probs(carry: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        log_probs, carry = model.log_probs(params, tokens[None], carry)
        return log_probs[0], carry

    return next_log_probs


def _split(carry: Any, n: int) -> Any:
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((n, s.shape[0] // n, *s.shape[1:]), s.dtype), carry
    )


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


def _window(num_steps: int, n: int, b: int) -> Window:
    ids = jax.ShapeDtypeStruct((n, num_steps, b), np.int32)
    weights = _floats(n, num_steps, b)
    length = jax.ShapeDtypeStruct((n,), np.int32)
    return Window(ids, ids, weights, length, Counts(_floats(n), _floats(n)))


def _pair(num_steps: int, n: int, b: int) -> Pair:
    ids = jax.ShapeDtypeStruct((n, num_steps, b), np.int32)
    weights = _floats(n, num_steps, b)
    return Pair(ids, weights, ids, ids, weights, Counts(_floats(n), _floats(n)))
