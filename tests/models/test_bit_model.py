"""A model that reads vectors and answers with bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.data.bits import EXERCISES, training_plan
from awd_jax.models.bits import LIMIT, BitModel
from awd_jax.models.contract import LanguageModel, Model, Translator
from awd_jax.train.bits import bits_problem
from awd_jax.train.state import TrainState, zero_totals
from awd_jax.train.step import AXIS, Regularisers, make_train_step
from configs import lstm_copy, ntm_copy

D, K, B = 9, 8, 4
RATES = {
    "hidden_dropout_rate": 0.2,
    "output_dropout_rate": 0.3,
    "state_dropout_rate": 0.2,
    "weight_drop_rate": 0.3,
    "input_weight_drop_rate": 0.1,
}
SIZES = {"input_dim": D, "output_dim": K, "hidden_dim": 12}
ROWS = {
    "ntm": BitModel(**SIZES, cell="ntm", memory_rows=6, memory_dim=3, **RATES),
    "lstm": BitModel(**SIZES, num_layers=2, dropout_kind="elementwise", **RATES),
}
each_row = pytest.mark.parametrize("name", ROWS)


@functools.cache
def make(name):
    model = ROWS[name]
    params = jax.jit(model.init_params)(jax.random.key(0))
    return model, jax.tree.map(lambda p: 3 * p if p.ndim > 1 else p, params)


@functools.cache
def make_batch(seed=0):
    plan = training_plan("copy", range(3, 4), 0, (1, B), seed, 1)
    return jax.tree.map(jnp.asarray, plan[0])


def draw(model, batch, ids=None, seed=7):
    ids = jnp.arange(batch.weights.shape[1]) if ids is None else ids
    return jax.jit(model.sample_masks)(jax.random.key(seed), ids, batch)


@functools.cache
def grader(model):
    def loss(params, batch, masks):
        score = model.score(params, batch, (), masks)
        return score.nll, score

    return jax.jit(jax.grad(loss, has_aux=True))


def assert_close(got, expected, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), got, expected)


@each_row
def test_a_score_is_the_cross_entropy_of_the_bits_that_are_asked_for(name):
    model, params = make(name)
    batch = make_batch()
    assert isinstance(model, Model)
    assert not isinstance(model, LanguageModel | Translator)
    drawn = draw(model, batch)
    grads, score = grader(model)(params, batch, drawn)
    features, logits = model.run(params, batch.inputs, drawn)
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    bits = np.asarray(batch.targets)
    nll = -np.log(np.where(bits > 0, p, 1 - p)).sum(-1)
    np.testing.assert_allclose(score.token_nll, nll, rtol=1e-5)
    np.testing.assert_allclose(score.nll, np.sum(nll * batch.weights), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, score.features, features)
    assert score.carry == ()
    assert all(jnp.any(grad) for grad in jax.tree.leaves(grads))


def test_the_nll_of_a_step_has_no_gradient():
    model, params = make("lstm")
    grads = jax.jit(jax.grad(lambda p: jnp.sum(model.score(p, make_batch(), ()).token_nll)))(params)
    assert not any(jnp.any(g) for g in jax.tree.leaves(grads))


def test_log_odds_have_bounds_within_which_they_are_those_of_the_features():
    model, params = make("lstm")
    batch = make_batch()
    features, logits = model.run(params, batch.inputs)
    w, b = params["output"]["w"], params["output"]["b"]
    np.testing.assert_allclose(
        logits,
        np.asarray(features.dropped_hs) @ np.asarray(w) + np.asarray(b),
        rtol=1e-4,
        atol=1e-5,
    )
    loud = {**params, "output": {"w": 1000 * w, "b": b}}
    assert jnp.max(jnp.abs(model.run(loud, batch.inputs)[1])) == LIMIT
    assert jnp.isfinite(model.score(loud, batch, ()).nll)


@each_row
def test_padding_and_what_is_not_asked_for_change_nothing(name):
    """With dropout, whose masks are cut to the shorter batch."""
    model, params = make(name)
    batch = make_batch()
    num_steps = int(jnp.flatnonzero(batch.weights[:, 0])[-1]) + 1
    junk = jnp.where(batch.weights[..., None] > 0, batch.targets, 1 - batch.targets)
    junk_inputs = batch.inputs.at[num_steps:].set(5.0)
    padded = batch._replace(inputs=junk_inputs, targets=junk)
    short = jax.tree.map(lambda a: a[:num_steps] if a.ndim else a, batch)
    drawn = draw(model, padded)
    sizes = jax.eval_shape(model.sample_masks, jax.random.key(7), jnp.arange(B), short)
    cut = jax.tree.map(lambda m, size: m[tuple(map(slice, size.shape))], drawn, sizes)
    (expected, score), (got, more) = (
        grader(model)(params, *arguments) for arguments in ((short, cut), (padded, drawn))
    )
    np.testing.assert_allclose(more.nll, score.nll, rtol=1e-5)
    assert_close(got, expected, rtol=1e-4)


@each_row
def test_a_step_knows_the_past_of_its_own_sequence_alone(name):
    model, params = make(name)
    inputs = make_batch().inputs
    t, b = 2, 1
    before, after = (jax.jit(model.run)(params, x)[1] for x in (inputs, inputs.at[t, b].add(1.0)))
    changed = np.abs(np.asarray(after - before)).max(-1) > 1e-6
    expected = np.zeros(changed.shape, bool)
    expected[t:, b] = True
    np.testing.assert_array_equal(changed, expected)


@each_row
def test_masks_are_data_and_each_rate_has_its_place(name):
    model, params = make(name)
    batch = make_batch()
    scores = [
        model.score(params, batch, (), masks).nll
        for masks in (draw(model, batch), draw(model, batch), draw(model, batch, seed=8), None)
    ]
    assert scores[0] == scores[1] and len({float(s) for s in scores}) == 3
    layers = model.num_layers
    places = {  # how many masks each rate makes
        "hidden_dropout_rate": (lambda masks: [m.after for m in masks.layers[:-1]], layers - 1),
        "output_dropout_rate": (lambda masks: masks.layers[-1].after, 1),
        "state_dropout_rate": (lambda masks: [m.state for m in masks.layers], layers),
        "weight_drop_rate": (lambda masks: [m.weights for m in masks.layers], layers),
        "input_weight_drop_rate": (lambda masks: [m.weights for m in masks.layers], layers),
    }
    for rate, (place, num_masks) in places.items():
        masks = draw(model.clone(**{r: RATES[r] * (r == rate) for r in RATES}), batch)
        assert len(jax.tree.leaves(place(masks))) == len(jax.tree.leaves(masks)) == num_masks


# ---- replicas ----

STATE_AXES = TrainState._make(0 if field == "carry" else None for field in TrainState._fields)


def train(model, params, batch, num_replicas):
    """The state after one step; every replica has its part of the sequences."""
    optimizer = optax.with_extra_args_support(optax.sgd(1.0))
    step = make_train_step(model, optimizer, Regularisers(2.0, 1.0), seed=3)

    def part(array):
        if array.ndim == 0:
            return jnp.broadcast_to(array, num_replicas)
        return jnp.stack(jnp.split(array, num_replicas, axis=1))

    state = TrainState(
        jnp.int32(0), params, optimizer.init(params), (), zero_totals(), jnp.int32(-1)
    )
    step = jax.jit(jax.vmap(step, (STATE_AXES, 0, None), axis_name=AXIS))
    return jax.tree.map(lambda s: s[0], step(state, jax.tree.map(part, batch), jnp.float32(1.0)))


@each_row
def test_one_two_and_four_replicas_take_the_same_step(name):
    """With dropout, and sequences of which one is idle."""
    model, params = make(name)
    batch = make_batch()
    batch = batch._replace(weights=batch.weights.at[:, 0].set(0))
    numbers = (1, 2, 4) if name == "lstm" else (1, 4)  # each is a program to compile
    one, *more = (train(model, params, batch, n) for n in numbers)
    assert not jnp.array_equal(*(jax.tree.leaves(p)[0] for p in (one.params, params)))
    for state in more:
        assert_close(state, one, rtol=1e-4)


# ---- recipes ----


@pytest.mark.parametrize(
    ("recipe", "num_params"),
    # 62,260 as published, the second bias of the LSTM, first weights of two heads, first reads
    [(ntm_copy, 62_260 + 400 + 2 * 128 + 20), (lstm_copy, 1024 * (267 + 2 * 514) + 8 * 257)],
)
def test_recipes_have_the_published_sizes(recipe, num_params):
    model = bits_problem(recipe.get_config()).model
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == num_params


def test_hundreds_of_steps_learn_and_stay_finite():
    """At ten times the rate of the recipes."""
    exercise = EXERCISES["copy"]
    model = BitModel(
        len(exercise.inputs),
        len(exercise.targets),
        36,
        cell="ntm",
        memory_rows=8,
        memory_dim=8,
        forget_gate_bias=1.0,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(50.0), optax.adam(1e-2))
    params = model.init_params(jax.random.key(0))
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, opt_state, batch):
        nll, grads = jax.value_and_grad(lambda p: model.score(p, batch, ()).nll)(params)
        mean = nll / batch.counts.tokens
        updates, opt_state = optimizer.update(
            jax.tree.map(lambda g: g / batch.counts.tokens, grads), opt_state
        )
        return optax.apply_updates(params, updates), opt_state, mean

    means = []
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        for batch in training_plan("copy", range(1, 4), 0, (400, 16), 0, 1):
            params, opt_state, mean = step(params, opt_state, batch)
            means.append(float(mean))
    assert np.all(np.isfinite(means))
    assert all(jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(params))
    assert np.mean(means[-50:]) < 0.5 * K * np.log(2)


def test_only_the_first_layer_has_the_filter_of_two():
    model = BitModel(**SIZES, num_layers=2, cell="qrnn", filter_width=2)
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    assert [params[f"qrnn_{i}"]["w"].shape[0] for i in range(2)] == [2 * D, 12]
