"""What a model from sequence to sequence owes, whatever its parts are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.batches import Counts, Pair
from awd_jax.core.alignment import ALIGNMENTS
from awd_jax.core.cells import CELLS
from awd_jax.interchange.params import flatten_params
from awd_jax.models.contract import LanguageModel, Model, Translator
from awd_jax.models.seq2seq import Seq2Seq
from awd_jax.train.state import TrainState, zero_totals
from awd_jax.train.step import AXIS, Regularisers, make_train_step

V, VS, S, T = 11, 9, 6, 5
SOURCE_LENGTHS, LENGTHS = np.array([6, 2, 4, 1]), np.array([5, 4, 1, 3])
B = len(LENGTHS)
RATES = {
    "embed_dropout_rate": 0.2,
    "input_dropout_rate": 0.3,
    "hidden_dropout_rate": 0.2,
    "output_dropout_rate": 0.3,
    "weight_drop_rate": 0.3,
}


def make_row(**fields):
    sizes = {"vocab_size": V, "source_vocab_size": VS, "embed_dim": 6, "hidden_dim": 8}
    return Seq2Seq(**{**sizes, **RATES, **fields})


TWO = {"encoder_layers": 2, "decoder_layers": 2}
THREE = {"encoder_layers": 3, "decoder_layers": 3}
ELEMENTWISE = {"dropout_kind": "elementwise"}
ROWS = {
    "plain": make_row(hand_over="h", reverse_source=True, peeky=True, bidirectional="all"),
    "dot": make_row(attention="dot", reverse_source=True, cell="gru", softmax="tied", hidden_dim=3),
    "general": make_row(
        attention="general", placement="luong", bidirectional="all", attended_dim=7, **TWO
    ),
    "scaled": make_row(
        attention="scaled",
        placement="input_feeding",
        cell="rnn",
        state_dropout_rate=0.2,
        decoder_layers=2,
        **ELEMENTWISE,
    ),
    "additive": make_row(
        attention="additive",
        placement="gnmt",
        bidirectional="bottom",
        residual_from=3,
        hand_over="none",
        **THREE,
        **ELEMENTWISE,
    ),
    "normed_additive": make_row(
        attention="normed_additive", cell="cho_gru", placement="luong", peeky=True
    ),
    "concat": make_row(attention="concat", cell="qrnn", filter_width=2, reverse_source=True),
    "shared": make_row(
        cell="mogrifier",
        mogrifier_rounds=2,
        mogrifier_rank=3,
        source_vocab_size=V,
        share_embeddings=True,
        softmax="mixture",
        num_components=2,
        input_weight_drop_rate=0.2,
    ),
    "memory": make_row(cell="ntm", memory_rows=5, memory_dim=3),
}
each_row = pytest.mark.parametrize("name", ROWS)
# Of gradients, whose programs take long to compile; tests/models/test_golden_seq2seq.py has others.
some_rows = pytest.mark.parametrize("name", ["plain", "additive"])
has_attention = [name for name, model in ROWS.items() if model.attention != "none"]


@functools.cache
def make(name):
    model = ROWS[name]
    params = jax.jit(model.init_params)(jax.random.key(0))
    return model, jax.tree.map(lambda p: 2 * p if p.ndim > 1 else p, params)


def make_batch(model, source_steps=S, steps=T, seed=0):
    """Sequences of unequal lengths; what is padding differs with the number of steps."""
    random, junk = np.random.default_rng(seed), np.random.default_rng([seed, source_steps, steps])

    def side(num_kinds, num_steps, most, lengths):
        ids = junk.integers(num_kinds, size=(num_steps, B))
        ids[:most] = np.where(
            np.arange(most)[:, None] < lengths,
            random.integers(num_kinds, size=(most, B)),
            ids[:most],
        )
        return jnp.asarray(ids, jnp.int32)

    def weights(num_steps, lengths):
        return jnp.asarray(np.arange(num_steps)[:, None] < lengths, jnp.float32)

    num_tokens = LENGTHS.sum()
    return Pair(
        side(model.source_vocab_size, source_steps, S, SOURCE_LENGTHS),
        weights(source_steps, SOURCE_LENGTHS),
        side(V, steps, T, LENGTHS),
        side(V, steps, T, LENGTHS),
        weights(steps, LENGTHS),
        Counts(jnp.float32(num_tokens), jnp.float32(num_tokens - B)),
    )


def draw(model, batch, ids=None, seed=7):
    ids = jnp.arange(B) if ids is None else ids
    return jax.jit(model.sample_masks)(jax.random.key(seed), ids, batch)


@functools.cache
def grader(model):
    def loss(params, batch, masks):
        score = model.score(params, batch, (), masks)
        return score.nll, score

    return jax.jit(jax.grad(loss, has_aux=True))


def assert_close(got, expected, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), got, expected)


def test_the_rows_have_every_cell_attention_and_placement():
    assert {m.cell for m in ROWS.values()} == CELLS.keys()
    assert {m.attention for m in ROWS.values()} == {"none", *ALIGNMENTS}
    assert len({m.placement for m in ROWS.values()}) == 4
    for model in ROWS.values():
        assert isinstance(model, Model)
        assert isinstance(model, Translator)
        assert not isinstance(model, LanguageModel)


@some_rows
def test_padding_changes_neither_scores_nor_gradients(name):
    """Of either side; with dropout, whose masks are cut to the shorter batch."""
    model, params = make(name)
    batch, padded = make_batch(model), make_batch(model, S + 2, T + 3)
    drawn = draw(model, padded)
    sizes = jax.eval_shape(model.sample_masks, jax.random.key(7), jnp.arange(B), batch)
    cut = jax.tree.map(lambda m, size: m[tuple(map(slice, size.shape))], drawn, sizes)
    grads, score = grader(model)(params, batch, cut)
    more_grads, more = grader(model)(params, padded, drawn)
    real = np.asarray(batch.weights) > 0
    assert_close(more.token_nll[:T][real], score.token_nll[real], rtol=1e-4, atol=1e-5)
    assert_close(more.nll, score.nll)
    assert_close(more_grads, grads, rtol=1e-3, atol=1e-5)
    for name_of_param, grad in flatten_params(grads).items():
        assert jnp.any(grad), name_of_param


@each_row
def test_all_steps_at_once_are_one_after_the_other_and_the_score(name):
    model, params = make(name)
    batch = make_batch(model)
    carry = start = jax.jit(model.read)(params, batch.sources, batch.source_weights)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(start)} == {B}
    step = jax.jit(model.log_probs)
    by_step = []
    for inputs in batch.inputs:
        log_probs, carry = step(params, inputs[None], carry)
        by_step.append(log_probs[0])
    at_once, last = step(params, batch.inputs, start)
    assert_close(jnp.stack(by_step), at_once, rtol=1e-4, atol=1e-5)
    assert_close(carry, last, rtol=1e-4, atol=1e-5)
    picked = -jnp.take_along_axis(at_once, batch.targets[..., None], axis=-1)[..., 0]
    score = jax.jit(model.score)(params, batch, ())
    assert_close(score.token_nll, picked, rtol=1e-4, atol=1e-5)
    assert_close(score.nll, jnp.sum(batch.weights * picked))
    assert score.features.raw_hs.shape == (T, B, model.feature_dim)


@each_row
def test_its_own_source_and_the_targets_before_it_alone_decide(name):
    model, params = make(name)
    batch = make_batch(model)

    @jax.jit
    def log_probs(batch):
        carry = model.read(params, batch.sources, batch.source_weights)
        return model.log_probs(params, batch.inputs, carry)[0]

    def changed(other):
        return np.abs(np.asarray(log_probs(other) - log_probs(batch))).max(-1) > 1e-6

    t, b = 2, 1
    inputs = batch.inputs.at[t, b].set((batch.inputs[t, b] + 1) % V)
    expected = np.zeros((T, B), bool)
    expected[t:, b] = True
    np.testing.assert_array_equal(changed(batch._replace(inputs=inputs)), expected)
    sources = batch.sources.at[1, b].set((batch.sources[1, b] + 1) % model.source_vocab_size)
    expected[:, b] = True
    np.testing.assert_array_equal(changed(batch._replace(sources=sources)), expected)
    idle = batch._replace(source_weights=batch.source_weights.at[:, b].set(0))
    assert np.isfinite(np.asarray(log_probs(idle))).all()


@pytest.mark.parametrize("name", has_attention)
def test_attention_is_over_the_real_tokens_of_the_source_in_their_order(name):
    model, params = make(name)
    batch = make_batch(model)
    weights = np.asarray(jax.jit(model.alignment)(params, batch))
    assert weights.shape == (T, B, S)
    np.testing.assert_allclose(weights.sum(-1), np.ones((T, B)), rtol=1e-5)
    is_padding = np.asarray(batch.source_weights).T == 0
    assert not np.any(weights[:, is_padding])
    assert np.all(weights[:, ~is_padding] > 0)
    carry = model.read(params, batch.sources, batch.source_weights)
    _, carry = jax.jit(model.log_probs)(params, batch.inputs, carry)
    assert_close(model.attended(carry), weights.sum(0))


def test_a_reversed_source_is_attended_to_where_its_tokens_are():
    """Read backwards, or given backwards: the weights are those of the same tokens."""
    model, params = make("dot")
    batch = make_batch(model)
    turned = model.clone(reverse_source=False)
    at = (
        np.where(np.arange(S)[:, None] < SOURCE_LENGTHS, SOURCE_LENGTHS - 1, 0)
        - np.arange(S)[:, None]
    )
    at = np.where(np.asarray(batch.source_weights) > 0, at, np.arange(S)[:, None])
    backwards = batch._replace(sources=jnp.take_along_axis(batch.sources, jnp.asarray(at), 0))
    expected, got = model.alignment(params, batch), turned.alignment(params, backwards)
    for b, length in enumerate(SOURCE_LENGTHS):
        np.testing.assert_allclose(got[:, b, :length][:, ::-1], expected[:, b, :length], rtol=1e-5)


def test_a_decoder_starts_from_the_backward_states_layer_by_layer():
    model, params = make("general")
    batch = make_batch(model)
    read = jax.jit(lambda p: model.read(p, batch.sources, batch.source_weights).states)
    states = read(params)
    for layer in range(2):
        moved = dict(params)
        side = params[f"encoder_{layer}"]
        moved[f"encoder_{layer}"] = side | {
            "forward": jax.tree.map(lambda p: p + 0.1, side["forward"])
        }
        is_same = [
            all(map(jnp.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
            for a, b in zip(read(moved), states, strict=True)
        ]
        assert is_same == [True, layer > 0]  # the layer above reads both directions


def test_hand_over_of_h_starts_c_at_zero_and_none_everything():
    batch = make_batch(ROWS["plain"])
    _, params = make("plain")
    for how, is_zero in (("state", (False, False)), ("h", (False, True)), ("none", (True, True))):
        model = ROWS["plain"].clone(hand_over=how)
        (state,) = model.read(params, batch.sources, batch.source_weights).states
        assert (not jnp.any(state.h), not jnp.any(state.c)) == is_zero


@pytest.mark.parametrize(
    ("fields", "published"),
    [
        ({"hidden_dim": 128, "hand_over": "h"}, 150_573),
        ({"hidden_dim": 128, "peeky": True}, 217_773),
        ({"hidden_dim": 256, "attention": "dot", "reverse_source": True}, 591_259),
    ],
)
def test_parameters_are_those_of_the_book_but_for_a_second_bias(fields, published):
    size = 59 if "attention" in fields else 13
    model = Seq2Seq(size, size, embed_dim=16, **fields)
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    second_biases = 2 * 4 * model.hidden_dim
    assert sum(p.size for p in jax.tree.leaves(shapes)) == published + second_biases


# ---- masks and replicas ----


@some_rows
def test_masks_are_data_that_follow_the_sequence_or_are_the_same_for_all(name):
    model, _ = make(name)
    batch = make_batch(model)
    whole, other = draw(model, batch), draw(model, batch, seed=8)
    for a, b in zip(*map(jax.tree.leaves, (whole, other)), strict=True):
        assert jnp.any(a != b)
    half = jax.tree.map(lambda a: a[:, :2] if a.ndim > 1 else a, batch)
    halves = [draw(model, half, ids) for ids in jnp.split(jnp.arange(B), 2)]
    for leaf, *parts in zip(*map(jax.tree.leaves, (whole, *halves)), strict=True):
        axes = [i for i in range(leaf.ndim) if leaf.shape[i] != parts[0].shape[i]]
        got = jnp.concatenate(parts, axes[0]) if axes else parts[0]
        np.testing.assert_array_equal(got, leaf)


STATE_AXES = TrainState._make(0 if field == "carry" else None for field in TrainState._fields)


def train(model, params, batch, num_replicas):
    """The state after one step of SGD; every replica has its part of the sequences."""
    optimizer = optax.with_extra_args_support(optax.sgd(1.0))
    step = make_train_step(model, optimizer, Regularisers(2.0, 1.0), seed=3)
    state = TrainState(
        *(jnp.int32(0), params, optimizer.init(params), (), zero_totals(), jnp.int32(-1))
    )

    def part(array: Any) -> Any:
        if array.ndim == 0:
            return jnp.broadcast_to(array, num_replicas)
        return jnp.stack(jnp.split(array, num_replicas, axis=1))

    mapped = jax.jit(jax.vmap(step, (STATE_AXES, 0, None), axis_name=AXIS))
    state = mapped(state, jax.tree.map(part, batch), jnp.float32(1.0))
    return jax.tree.map(lambda s: s[0], state)


@pytest.mark.parametrize("name", ["plain", "additive"])
def test_one_two_and_four_replicas_take_the_same_step(name):
    """With dropout, unequal lengths, and a sequence that is idle."""
    model, params = make(name)
    batch = make_batch(model)
    weights = batch.weights.at[:, 3].set(0)
    batch = batch._replace(
        source_weights=batch.source_weights.at[:, 3].set(0),
        weights=weights,
        counts=Counts(weights.sum(), weights[1:].sum()),
    )
    numbers = (1, 2, 4) if name == "plain" else (1, 4)  # each is a program to compile
    one, *more = (train(model, params, batch, n) for n in numbers)
    assert not jnp.array_equal(one.params["embedding"], params["embedding"])
    for state in more:
        assert_close(state, one, rtol=1e-3, atol=1e-5)


def test_a_qrnn_starts_with_the_c_of_a_deeper_encoder():
    """Whose last layer reads a single input, and the decoder's first one two."""
    model = make_row(cell="qrnn", filter_width=2, encoder_layers=2)
    params = jax.jit(model.init_params)(jax.random.key(0))
    batch = make_batch(model)
    [state] = jax.jit(model.read)(params, batch.sources, batch.source_weights).states
    assert np.all(state.c != 0) and not np.any(state.x)


def test_fan_in_is_what_a_product_sums():
    """The rows of `clusters` are transposed in it."""
    sizes = {"vocab_size": 200, "source_vocab_size": VS, "embed_dim": 64, "hidden_dim": 64}
    model = Seq2Seq(**sizes, softmax="adaptive", cutoffs=(50, 100, 150), initializer="fan_in")
    params = flatten_params(jax.jit(model.init_params)(jax.random.key(0)))
    assert np.std(params["softmax.clusters"]) == pytest.approx(64**-0.5, rel=0.2)
    assert np.std(params["decoder_0.w_h"]) == pytest.approx(64**-0.5, rel=0.05)
    model = model.clone(div_val=2)
    params = flatten_params(jax.jit(model.init_params)(jax.random.key(0)))
    assert np.std(params["embedding.projections.1"]) == pytest.approx(32**-0.5, rel=0.1)
    assert np.std(params["embedding.rows.0"]) == pytest.approx(0.01, rel=0.1)
