"""What Transformer-XL promises besides the contract of every model."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from awd_jax.batches import Counts, Window
from awd_jax.core import masks as dropout
from awd_jax.models.transformer import TransformerLM
from awd_jax.models.transformer_masks import no_masks

V, B = 13, 3
MODEL = TransformerLM(
    vocab_size=V,
    embed_dim=8,
    num_layers=3,
    num_heads=2,
    head_dim=5,
    inner_dim=12,
    memory_length=4,
    eval_memory_length=6,
    eval_clamp_length=3,
)
PARAMS = jax.tree.map(lambda p: 10 * p if p.ndim > 1 else p, MODEL.init_params(jax.random.key(0)))
TEXT = np.random.default_rng(0).integers(V, size=(40, B)).astype(np.int32)


def window(text, num_steps=None):
    """A window of all but the last token, padded to `num_steps`."""
    length = len(text) - 1
    padding = ((0, (num_steps or length) - length), (0, 0))
    inputs, targets = (jnp.asarray(np.pad(t, padding)) for t in (text[:-1], text[1:]))
    weights = jnp.asarray(np.pad(np.ones(text[1:].shape), padding), jnp.float32)
    tokens, pairs = weights.sum(), weights[1:].sum()
    return Window(inputs, targets, weights, jnp.int32(length), Counts(tokens, pairs))


def token_nlls(model, cuts, num_steps=None):
    """Of all tokens, in windows that end at the given rows of the text."""
    carry, found, start = model.initial_carry(B), [], 0
    score = jax.jit(model.score)
    for end in cuts:
        scored = score(PARAMS, window(TEXT[start : end + 1], num_steps), carry)
        found.append(scored.token_nll[: end - start])
        carry, start = scored.carry, end
    return np.concatenate(found), carry


@pytest.mark.parametrize("same_length", [False, True])
def test_a_window_with_its_memory_is_the_end_of_one_long_window(same_length):
    long = MODEL.clone(memory_length=9, same_length=same_length)
    whole, _ = token_nlls(long, [9])
    parts, _ = token_nlls(long, [4, 9])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    shortest, _ = token_nlls(MODEL.clone(memory_length=0), [4, 9])
    assert np.abs(shortest[4:] - whole[4:]).max() > 1e-2


@pytest.mark.parametrize(
    "model",
    [MODEL.for_evaluation(), MODEL.clone(positions="absolute").remembering(6)],
    ids=["relative", "absolute"],
)
def test_in_evaluation_windows_decide_nothing(model):
    """Windows of 1 to 30 tokens, whatever they are padded to: training must not be so lucky."""
    whole, last = token_nlls(model, [30])
    for cuts, num_steps in (([3, 4, 17, 30], 32), (range(1, 31), 1), ([6, 12, 18, 24, 30], 8)):
        nlls, carry = token_nlls(model, cuts, num_steps)
        np.testing.assert_allclose(nlls, whole, rtol=1e-4, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), carry, last
        )


def test_evaluation_has_its_own_memory_and_largest_distance():
    model = MODEL.for_evaluation()
    assert (model.memory_length, model.clamp_length, model.same_length) == (6, 3, True)
    near, _ = token_nlls(model, [30])
    far, _ = token_nlls(model.clone(clamp_length=0), [30])
    np.testing.assert_allclose(near[:4], far[:4], rtol=1e-4)  # no distance beyond 3 yet
    assert np.abs(near - far).max() > 1e-3


def test_with_absolute_positions_a_segment_is_a_text_of_its_own():
    plain = MODEL.clone(positions="absolute").remembering(6)
    nlls, _ = token_nlls(plain, [12])
    alone, _ = token_nlls(plain.clone(memory_length=0), [6, 12])
    np.testing.assert_allclose(nlls, alone, rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_the_memory():
    _, carry = token_nlls(MODEL, [5])

    def loss(memory):
        after = window(TEXT[5:10])
        return MODEL.score(PARAMS, after, carry._replace(memory=memory)).nll

    nll, grads = jax.jit(jax.value_and_grad(loss))(carry.memory)
    assert not any(jnp.any(grad) for grad in grads)
    forgotten = jax.tree.map(jnp.zeros_like, carry.memory)
    assert abs(jax.jit(loss)(forgotten) - nll) > 1e-2  # it is read, though

    def through_the_carry(params):
        scored = MODEL.score(params, window(TEXT[:6]), MODEL.initial_carry(B))
        return sum(jnp.sum(m) for m in scored.carry.memory)

    grads = jax.jit(jax.grad(through_the_carry))(PARAMS)
    assert not any(jnp.any(grad) for grad in jax.tree.leaves(grads))


RATES = {f"{name}_dropout_rate": 0.4 for name in ("input", "attended", "feedforward", "output")}


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
def test_no_two_masks_are_the_same(kind):
    model = MODEL.clone(inner_dim=8, dropout_kind=kind, attention_dropout_rate=0.4, **RATES)
    drawn = model.sample_masks(jax.random.key(0), jnp.arange(32), window(TEXT[:6]))
    masks = [leaf for leaf in jax.tree.leaves(drawn) if leaf.ndim == 3]
    assert len(masks) == 2 + 3 * model.num_layers
    for a, b in itertools.combinations(masks, 2):
        assert 0.3 < np.mean(a != b) < 0.7
    attention = [layer.attention.is_kept for layer in drawn.layers]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(attention, 2))


# By the field of a rate: the masks that it draws, as paths of their leaves.
PLACES = {
    "embed": {".embedding"},
    "input": {".input", ".distances"},
    "attention": {".layers[0].attention"},
    "attended": {".layers[0].attended"},
    "feedforward": {".layers[0].inner", ".layers[0].after"},
    "output": {".output"},
}


@pytest.mark.parametrize("name", PLACES)
def test_each_rate_has_its_own_places_and_all_are_dropped(name):
    model = MODEL.clone(num_layers=1, **{f"{name}_dropout_rate": 0.4})
    first = window(TEXT[:6])
    drawn = model.sample_masks(jax.random.key(0), jnp.arange(B), first)
    flat = {
        jax.tree_util.keystr(path).removesuffix(".is_kept"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(drawn)
    }
    scales = {place: leaf for place, leaf in flat.items() if place.endswith(".scale")}
    assert flat.keys() - scales == PLACES[name]
    for scale in scales.values():
        np.testing.assert_allclose(scale, 1 / 0.6, rtol=1e-6)

    @jax.jit
    def score(drawn):
        return model.score(PARAMS, first, model.initial_carry(B), drawn)

    whole = no_masks(1)
    nll = score(whole).nll
    for field in ("embedding", "input", "distances", "output"):
        if getattr(drawn, field) is not None:
            assert score(whole._replace(**{field: getattr(drawn, field)})).nll != nll
    for field, mask in drawn.layers[0]._asdict().items():
        if field != "weights" and mask is not None:
            layer = whole.layers[0]._replace(**{field: mask})
            assert score(whole._replace(layers=(layer,))).nll != nll


def test_the_memory_holds_inputs_as_they_were_dropped():
    model = MODEL.clone(memory_length=5, input_dropout_rate=0.4)
    first = window(TEXT[:6])
    drawn = model.sample_masks(jax.random.key(0), jnp.arange(B), first)
    score = model.score(PARAMS, first, model.initial_carry(B), drawn)
    inputs = PARAMS["embedding"][TEXT[:5]] * 8**0.5
    np.testing.assert_allclose(
        score.carry.memory[0].swapaxes(0, 1), dropout.apply(drawn.input, inputs), rtol=1e-5
    )


def test_bfloat16_is_near_float32():
    first = window(TEXT[:9])
    _, carry = token_nlls(MODEL, [4])
    half = MODEL.clone(dtype=jnp.bfloat16)
    narrow = carry._replace(memory=tuple(m.astype(jnp.bfloat16) for m in carry.memory))
    expected = jax.jit(MODEL.score)(PARAMS, first, carry)
    got = jax.jit(half.score)(PARAMS, first, narrow)
    assert {m.dtype for m in got.carry.memory} == {jnp.dtype("bfloat16")}
    assert got.nll.dtype == jnp.float32
    np.testing.assert_allclose(got.nll, expected.nll, rtol=0.03)


def test_weight_drop_takes_queries_keys_values_and_distances_alone():
    model = MODEL.clone(weight_drop_rate=0.4)
    drawn = model.sample_masks(jax.random.key(0), jnp.arange(B), window(TEXT[:6]))
    for layer in drawn.layers:
        of_layer = layer.weights.layer._asdict()
        assert {n for n, m in of_layer.items() if jax.tree.leaves(m)} == {"w_q", "w_k", "w_v"}
        assert layer.weights.relative.w_r is not None


def test_a_first_token_that_is_dropped_leaves_gradients_finite():
    model = MODEL.clone(embed_dropout_rate=0.5)
    first = window(TEXT[:4])
    drawn = model.sample_masks(jax.random.key(0), jnp.arange(B), first)
    drawn = drawn._replace(embedding=drawn.embedding.at[TEXT[0, 0]].set(0))
    params = model.init_params(jax.random.key(0))
    grads = jax.jit(jax.grad(lambda p: model.score(p, first, model.initial_carry(B), drawn).nll))
    assert optax.tree.norm(grads(params)) < 1e3


def test_sequences_of_other_lengths_leave_their_own_latest_steps():
    lengths = jnp.asarray([5, 3, 1])

    def features(model):
        return model.features(jnp.asarray(TEXT[:6]), MODEL.initial_carry(B), length=lengths)

    _, carry = jax.jit(lambda params: MODEL.apply({"params": params}, method=features))(PARAMS)
    np.testing.assert_array_equal(carry.num_filled, [4, 3, 1])
    for b, length in enumerate(lengths.tolist()):
        inputs = jnp.asarray(TEXT[:length, b : b + 1])
        _, expected = jax.jit(MODEL.log_probs)(PARAMS, inputs, MODEL.initial_carry(1))
        for got, want in zip(carry.memory, expected.memory, strict=True):
            np.testing.assert_allclose(got[b], want[0], rtol=1e-4, atol=1e-5)


def test_a_trained_model_is_no_worse_the_more_it_remembers():
    """A text that repeats itself after 8 tokens: a shorter memory cannot tell what comes next."""
    random = np.random.default_rng(1)
    sizes = {"num_layers": 1, "embed_dim": 32, "head_dim": 16, "inner_dim": 64}
    model = MODEL.clone(**sizes, memory_length=12, clamp_length=0)
    optimizer = optax.chain(optax.clip_by_global_norm(0.25), optax.adam(1e-2))

    def windows(batch_size, *ends):
        text = np.tile(random.integers(V, size=(8, batch_size)), (5, 1)).astype(np.int32)
        return [window(text[start : end + 1]) for start, end in itertools.pairwise((0, *ends))]

    def loss(params, model, first, second):
        carry = model.score(params, first, model.initial_carry(first.inputs.shape[1])).carry
        return model.score(params, second, carry).nll / second.weights.size

    @jax.jit
    def step(params, state, first, second):
        grads = jax.grad(loss)(params, model, first, second)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    params = model.init_params(jax.random.key(1))
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        for _ in range(200):
            params, state = step(params, state, *windows(16, 12, 24))
    scored = windows(64, 24, 36)
    compiled = jax.jit(loss, static_argnums=1)
    nlls = [float(compiled(params, model.remembering(m), *scored)) for m in (4, 8, 12, 24)]
    assert nlls[0] > 1
    assert max(nlls[1:]) < 0.1
    assert all(more < less + 0.02 for less, more in itertools.pairwise(nlls))
