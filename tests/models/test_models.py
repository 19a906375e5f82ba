"""What every language model owes: the contract of `LanguageModel`, in training and after."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.batches import Counts, Window
from awd_jax.core.cells import CELLS
from awd_jax.core.heads import HEADS
from awd_jax.interchange.params import flatten_params
from awd_jax.interchange.stablehlo import flatten_carry
from awd_jax.models import MODELS
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.models.transformer import TransformerLM
from awd_jax.train import PROBLEMS
from awd_jax.train.language import language_problem
from awd_jax.train.state import TrainState, zero_totals
from awd_jax.train.step import AXIS, Regularisers, make_train_step

V, T, B = 13, 6, 4
LENGTH = 4  # real steps of the first window, and of the second


class Row(NamedTuple):
    """A model with dropout, written small."""

    model: Any
    scale: float = 1.0  # of matrices, where they are drawn too small to show a change

    @property
    def remembering(self):
        """The model with a memory of a whole text, where it has one."""
        return self.model.remembering(2 * T)


def recurrent(**fields):
    sizes = {"vocab_size": V, "embed_dim": 8, "hidden_dim": 12, "num_layers": 2}
    rates = {
        "embed_dropout_rate": 0.2,
        "input_dropout_rate": 0.3,
        "hidden_dropout_rate": 0.2,
        "output_dropout_rate": 0.3,
        "weight_drop_rate": 0.3,
    }
    return Row(RecurrentLM(**{**sizes, **rates, **fields}))


ADAPTIVE = {"softmax": "adaptive", "cutoffs": (4, 9), "div_val": 2}
MIXTURE = {"softmax": "mixture", "num_components": 3, "latent_dropout_rate": 0.3}
# Options of a cell; and a head, to have every cell and every head in few rows.
OPTIONS = {
    "qrnn": {"filter_width": 2, "last_hidden_dim": 10, **MIXTURE},
    "mogrifier": {"mogrifier_rounds": 2, "mogrifier_rank": 3, **ADAPTIVE},
    "ntm": {"memory_rows": 5, "memory_dim": 2, "memory_heads": 2},
}


def transformer(**fields):
    sizes = {"vocab_size": V, "embed_dim": 8, "num_layers": 2, "num_heads": 2, "head_dim": 5}
    rates = {
        "embed_dropout_rate": 0.2,
        "input_dropout_rate": 0.3,
        "attention_dropout_rate": 0.2,
        "attended_dropout_rate": 0.2,
        "feedforward_dropout_rate": 0.2,
        "output_dropout_rate": 0.3,
        "weight_drop_rate": 0.3,
    }
    return Row(TransformerLM(**{**sizes, "inner_dim": 12, **rates, **fields}), scale=10)


ROWS = {
    **{f"recurrent-{cell}": recurrent(cell=cell, **OPTIONS.get(cell, {})) for cell in CELLS},
    "recurrent-residual": recurrent(
        num_layers=3, hidden_dim=8, residual=True, backend="scan", input_weight_drop_rate=0.2
    ),
    "recurrent-elementwise": recurrent(
        softmax="separate",
        last_hidden_dim=10,
        dropout_kind="elementwise",
        forget_gate_bias=1.0,
        state_dropout_rate=0.3,
    ),
    "recurrent-summed": recurrent(
        hidden_dim=8,
        sum_outputs=True,
        dropout_kind="elementwise",
        state_dropout_rate=0.3,
        cap_input_gate=True,
    ),
    "transformer-xl": transformer(memory_length=5, dropout_kind="elementwise"),
    "transformer-norm_first": transformer(
        memory_length=7,
        clamp_length=4,
        same_length=True,
        norm_first=True,
        share_biases=False,
        untie_first_projection=True,
        **ADAPTIVE,
    ),
    "transformer-plain": transformer(positions="absolute"),
}
each_row = pytest.mark.parametrize("name", ROWS)


@functools.cache
def make(name):
    """A model and its parameters."""
    model, scale = ROWS[name]
    params = jax.jit(model.init_params)(jax.random.key(0))
    return model, jax.tree.map(lambda p: scale * p if p.ndim > 1 else p, params)


def make_window(seed=0, num_steps=T, length=T, batch_size=B):
    random = np.random.default_rng(seed)
    text = random.integers(V, size=(length + 1, batch_size))
    padding = ((0, num_steps - length), (0, 0))
    return Window(
        inputs=jnp.asarray(np.pad(text[:-1], padding, constant_values=V - 1), jnp.int32),
        targets=jnp.asarray(np.pad(text[1:], padding, constant_values=V - 2), jnp.int32),
        weights=jnp.asarray(np.pad(np.ones((length, batch_size)), padding), jnp.float32),
        length=jnp.asarray(length, jnp.int32),
        counts=Counts(jnp.float32(length * batch_size), jnp.float32((length - 1) * batch_size)),
    )


@functools.cache
def scorer(model):
    return jax.jit(model.score)


@functools.cache
def grader(model):
    """The gradient of the NLL alone, with the score."""

    def loss(params, *arguments):
        score = model.score(params, *arguments)
        return score.nll, score

    return jax.jit(jax.grad(loss, has_aux=True))


def draw(model, window, sequence_ids=None, seed=7):
    ids = jnp.arange(window.inputs.shape[1]) if sequence_ids is None else sequence_ids
    return jax.jit(model.sample_masks)(jax.random.key(seed), ids, window)


def assert_close(actual, desired, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(lambda a, d: np.testing.assert_allclose(a, d, rtol, atol), actual, desired)


def assert_equal(actual, desired):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(np.testing.assert_array_equal, actual, desired)


def test_every_model_cell_and_head_has_a_row():
    kinds = {type(row.model) for row in ROWS.values()}
    assert kinds == {MODELS[n] for n, problem in PROBLEMS.items() if problem is language_problem}
    cells = {row.model.cell for row in ROWS.values() if isinstance(row.model, RecurrentLM)}
    assert cells == CELLS.keys()
    assert {row.model.softmax for row in ROWS.values()} == HEADS.keys()


# ---- text in, probabilities out ----


@each_row
def test_two_padded_windows_are_one_window_and_one_token_at_a_time(name):
    _, params = make(name)
    model = ROWS[name].remembering
    whole = make_window(num_steps=2 * LENGTH, length=2 * LENGTH)
    start = model.initial_carry(B)
    expected = scorer(model)(params, whole, start)

    carry, nll, tokens = start, 0.0, []
    for at in (slice(LENGTH), slice(LENGTH, 2 * LENGTH)):
        padded = make_window(seed=1, length=LENGTH)
        window = padded._replace(
            inputs=padded.inputs.at[:LENGTH].set(whole.inputs[at]),
            targets=padded.targets.at[:LENGTH].set(whole.targets[at]),
        )
        score = scorer(model)(params, window, carry)
        carry, nll = score.carry, nll + score.nll
        tokens.append(score.token_nll[:LENGTH])
    np.testing.assert_allclose(nll, expected.nll, rtol=1e-5)
    np.testing.assert_allclose(jnp.concatenate(tokens), expected.token_nll, rtol=1e-4, atol=1e-5)
    assert_close(carry, expected.carry)

    step = jax.jit(model.log_probs)
    carry, by_token = start, []
    for inputs in whole.inputs:
        log_probs, carry = step(params, inputs[None], carry)
        by_token.append(log_probs[0])
    at_once, last = step(params, whole.inputs, start)
    assert_close(jnp.stack(by_token), at_once)
    assert_close(carry, last)
    assert_close(last, expected.carry)
    np.testing.assert_allclose(jnp.exp(at_once).sum(-1), np.ones((2 * LENGTH, B)), rtol=1e-5)
    picked = jnp.take_along_axis(at_once, whole.targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(expected.token_nll, -picked, rtol=1e-4, atol=1e-5)


@each_row
def test_the_past_of_its_own_sequence_alone_decides(name):
    model, params = make(name)
    carry, inputs = model.initial_carry(B), make_window().inputs
    log_probs = jax.jit(model.log_probs)
    t, b = 3, 1
    before, _ = log_probs(params, inputs, carry)
    after, _ = log_probs(params, inputs.at[t, b].set((inputs[t, b] + 1) % V), carry)
    is_changed = np.abs(np.asarray(after - before)).max(-1) > 1e-5
    expected = np.zeros((T, B), bool)
    expected[t:, b] = True
    np.testing.assert_array_equal(is_changed, expected)


# ---- what a score is ----


@each_row
def test_a_score_is_a_weighted_sum_whose_tokens_have_no_gradient(name):
    model, params = make(name)
    window = make_window(length=LENGTH)
    window = window._replace(weights=window.weights * 0.5)
    drawn, carry = draw(model, window), model.initial_carry(B)
    score = scorer(model)(params, window, carry, drawn)
    np.testing.assert_allclose(score.nll, jnp.sum(window.weights * score.token_nll), rtol=1e-5)
    assert score.features.raw_hs.shape == (T, B, model.feature_dim)
    assert score.features.dropped_hs.shape == (T, B, model.feature_dim)

    def sum_of_tokens(params):
        return jnp.sum(model.score(params, window, carry, drawn).token_nll)

    grads = jax.jit(jax.grad(sum_of_tokens))(params)
    assert not any(jnp.any(g) for g in jax.tree.leaves(grads))


@each_row
def test_padding_changes_no_gradient(name):
    model, params = make(name)
    carry = model.initial_carry(B)
    short, padded = (make_window(num_steps=n, length=LENGTH) for n in (LENGTH, T))
    drawn = draw(model, padded)
    sizes = jax.eval_shape(model.sample_masks, jax.random.key(7), jnp.arange(B), short)
    cut = jax.tree.map(lambda m, size: m[tuple(map(slice, size.shape))], drawn, sizes)
    expected, _ = grader(model)(params, short, carry, cut)
    got, _ = grader(model)(params, padded, carry, drawn)
    assert_close(got, expected, rtol=1e-4)


@each_row
def test_gradients_reach_every_parameter(name):
    model, params = make(name)
    window = make_window()
    grads, _ = grader(model)(params, window, model.initial_carry(B), draw(model, window))
    for name_of_param, grad in flatten_params(grads).items():
        assert jnp.any(grad), name_of_param


# ---- masks ----


@each_row
def test_masks_are_data_that_alone_decide_what_is_dropped(name):
    model, params = make(name)
    window, carry = make_window(), model.initial_carry(B)
    drawn, others = draw(model, window), draw(model, window, seed=8)
    score, again, other, none = (
        scorer(model)(params, window, carry, m) for m in (drawn, drawn, others, None)
    )
    assert_equal(again, score)
    assert other.nll != score.nll != none.nll
    assert_equal(draw(model, make_window(seed=5)), drawn)  # of a batch, its shapes only


def axis_of_sequences(whole, half):
    """Where a mask of activations has its sequences; None of a mask of weights."""
    axes = [i for i, (a, b) in enumerate(zip(whole.shape, half.shape, strict=True)) if a != b]
    assert len(axes) < 2
    return axes[0] if axes else None


@each_row
def test_masks_of_activations_follow_the_sequence_and_those_of_weights_do_not(name):
    model, _ = make(name)
    window = make_window(batch_size=8)
    whole = draw(model, window)
    halves = [draw(model, make_window(batch_size=4), ids) for ids in jnp.split(jnp.arange(8), 2)]
    axes = set()
    for leaf, *parts in zip(*map(jax.tree.leaves, (whole, *halves)), strict=True):
        axis = axis_of_sequences(leaf, parts[0])
        axes.add(axis is None)
        if axis is None:
            assert_equal(parts, [leaf, leaf])
        else:
            np.testing.assert_array_equal(jnp.concatenate(parts, axis), leaf)
            assert jnp.any(parts[0] != parts[1])
    assert axes == {True, False}


# ---- the carry, and names ----


@each_row
def test_every_leaf_of_the_carry_has_its_sequences_first_and_keeps_its_shape(name):
    model, params = make(name)
    for batch_size in (1, 5):
        carry = model.initial_carry(batch_size)
        assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {batch_size}
        _, after = jax.eval_shape(model.log_probs, params, jnp.zeros((2, batch_size), int), carry)
        assert jax.tree.structure(after) == jax.tree.structure(carry)
        for a, b in zip(*map(jax.tree.leaves, (after, carry)), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)


@each_row
def test_a_sequence_may_be_taken_out_of_the_carry(name):
    """As beams and samples do."""
    model, params = make(name)
    window, log_probs = make_window(), jax.jit(model.log_probs)
    _, carry = log_probs(params, window.inputs, model.initial_carry(B))
    expected, _ = log_probs(params, window.inputs, carry)
    chosen = np.array([2, 0, 2])
    carry = jax.tree.map(lambda leaf: leaf[chosen], carry)
    got, _ = log_probs(params, window.inputs[:, chosen], carry)
    np.testing.assert_allclose(got, expected[:, chosen], rtol=1e-4, atol=1e-5)


@each_row
def test_the_carry_has_a_name_for_each_leaf(name):
    model, _ = make(name)
    carry = model.initial_carry(B)
    flat = flatten_carry(carry)
    assert all(n and set(n) <= {*"abcdefghijklmnopqrstuvwxyz_0123456789."} for n in flat)
    assert [id(leaf) for leaf in flat.values()] == [id(leaf) for leaf in jax.tree.leaves(carry)]


@each_row
def test_parameters_with_a_row_for_each_token_are_named(name):
    model, params = make(name)
    flat = flatten_params(params)
    assert model.vocab_size == V
    assert {*model.row_params} == {n for n, p in flat.items() if p.shape and p.shape[0] == V}


# ---- replicas ----


STATE_AXES = TrainState._make(0 if field == "carry" else None for field in TrainState._fields)


@functools.cache
def train_step(model):
    optimizer = optax.with_extra_args_support(optax.sgd(1.0))
    step = make_train_step(model, optimizer, Regularisers(2.0, 1.0), seed=3)
    return optimizer, jax.jit(jax.vmap(step, (STATE_AXES, 0, None), axis_name=AXIS))


def train(model, params, window, carry, num_replicas):
    """The state after one step; every replica has its part of the sequences."""
    optimizer, step = train_step(model)

    def part(array):
        if array.ndim == 0:
            return jnp.broadcast_to(array, num_replicas)
        return jnp.stack(jnp.split(array, num_replicas, axis=1))

    state = TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params),
        carry=jax.tree.map(
            lambda s: s.reshape(num_replicas, len(s) // num_replicas, *s.shape[1:]), carry
        ),
        totals=zero_totals(),
        first_bad_step=jnp.int32(-1),
    )
    state = step(state, jax.tree.map(part, window), jnp.float32(1.0))
    carry = jax.tree.map(lambda s: s.reshape(len(s) * s.shape[1], *s.shape[2:]), state.carry)
    rest = state._replace(carry=())
    for replica in range(1, num_replicas):
        assert_equal(*(jax.tree.map(lambda s, r=r: s[r], rest) for r in (0, replica)))
    return jax.tree.map(lambda s: s[0], rest)._replace(carry=carry)


# Every kind of mask, carry and head; the other rows differ in their cells alone.
REPLICATED = [n for n in ROWS if n not in {f"recurrent-{c}" for c in ("gru", "cho_gru", "rnn")}]


@pytest.mark.parametrize("name", REPLICATED)
def test_one_two_and_four_replicas_take_the_same_step(name):
    """With dropout, and of sequences that do not have the same number of real tokens."""
    model, params = make(name)
    numbers = (1, 2, 4) if name == "recurrent-lstm" else (1, 4)  # each is a program to compile
    window = make_window(length=LENGTH)
    weights = window.weights.at[2:, 0].set(0)
    counts = Counts(weights.sum(), weights[1:].sum())
    window = window._replace(weights=weights, counts=counts)
    _, carry = jax.jit(model.log_probs)(params, make_window(seed=2).inputs, model.initial_carry(B))
    one, *more = (train(model, params, window, carry, n) for n in numbers)
    assert not jnp.array_equal(*(jax.tree.leaves(p)[0] for p in (one.params, params)))
    for state in more:
        assert_close(state, one, rtol=1e-4)
