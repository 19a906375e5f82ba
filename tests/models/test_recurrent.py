"""The model: its size and names, its masks, its tied embedding."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.batches import Counts, Window
from awd_jax.core import losses, masks
from awd_jax.core.cells import CELLS
from awd_jax.core.gated import GatedParams
from awd_jax.core.softmax import tied_logits
from awd_jax.models.recurrent import RecurrentLM
from tests.products import all_products

V, E, H, B, T = 23, 8, 12, 4, 6
SIZES = {"vocab_size": V, "embed_dim": E, "hidden_dim": H, "num_layers": 3}
RATES = {
    "embed_dropout_rate": 0.3,
    "input_dropout_rate": 0.3,
    "hidden_dropout_rate": 0.2,
    "output_dropout_rate": 0.3,
    "weight_drop_rate": 0.5,
}
IDS = jnp.arange(B)


@functools.cache
def make_window():
    """Parameters, tokens and a carry; the rates have no part in them."""
    model = RecurrentLM(**SIZES)
    random = np.random.default_rng(0)
    inputs = jnp.asarray(random.integers(V, size=(T, B)))
    carry = jax.tree.map(
        lambda s: jnp.asarray(random.normal(size=s.shape), jnp.float32), model.initial_carry(B)
    )
    return jax.jit(model.init_params)(jax.random.key(0)), inputs, carry


def as_window(inputs, length=None):
    """Its targets are the inputs a place further on."""
    length = len(inputs) if length is None else length
    weights = (np.arange(len(inputs)) < length)[:, None].repeat(inputs.shape[1], axis=1)
    counts = Counts(jnp.float32(weights.sum()), jnp.float32(weights[1:].sum()))
    weights = jnp.asarray(weights, jnp.float32)
    return Window(inputs, jnp.roll(inputs, -1), weights, jnp.int32(length), counts)


def run(model, params, inputs, carry, drawn=None, length=None):
    """All logits, and the score."""
    score = model.score(params, as_window(inputs, length), carry, drawn)
    return logits_of(model, params, score.features), score


def logits_of(model, params, features):
    def logits(model):
        return tied_logits(model.own, model.embedding, features.dropped_hs)

    return model.apply({"params": params}, method=logits)


@functools.cache
def make(**rates):
    """A model, its masks, and the window."""
    model = RecurrentLM(**SIZES, **rates)
    return model, draw(model), *make_window()


def draw(model, sequence_ids=IDS):
    inputs = jnp.zeros((T, len(sequence_ids)), jnp.int32)
    return jax.jit(model.sample_masks)(jax.random.key(7), sequence_ids, as_window(inputs))


def make_loss(model, inputs, carry, drawn):
    def loss(params):
        logits, _ = run(model, params, inputs, carry, drawn)
        return jnp.mean(losses.token_nll(logits, jnp.roll(inputs, -1)))

    return loss


def assert_trees_equal(actual, desired):
    jax.tree.map(np.testing.assert_array_equal, actual, desired)


def assert_trees_close(actual, desired):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, actual, desired)


# ---- parameters ----


@pytest.mark.parametrize(
    ("vocab_size", "num_params"), [(10_000, 24_221_600), (33_278, 33_556_078)], ids=["ptb", "wt2"]
)
def test_it_has_the_published_number_of_parameters(vocab_size, num_params):
    model = RecurrentLM(vocab_size, embed_dim=400, hidden_dim=1150, num_layers=3)

    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == num_params


def test_parameters_have_names_and_shapes():
    params, *_ = make_window()

    def lstm(d, h):
        return {"w_x": (d, 4 * h), "w_h": (h, 4 * h), "b_x": (4 * h,), "b_h": (4 * h,)}

    assert jax.tree.map(jnp.shape, params) == {
        "embedding": (V, E),
        "lstm_0": lstm(E, H),
        "lstm_1": lstm(H, H),
        "lstm_2": lstm(H, E),
        "softmax": {"bias": (V,)},
    }


def test_initial_values_are_torchs():
    params, *_ = make_window()
    assert 0.09 < jnp.max(jnp.abs(params["embedding"])) <= 0.1
    assert not jnp.any(params["softmax"]["bias"])
    for layer, h in enumerate((H, H, E)):
        bound = h**-0.5
        for weights in params[f"lstm_{layer}"].values():
            assert 0.8 * bound < jnp.max(jnp.abs(weights)) <= bound


@pytest.mark.parametrize(
    ("num_layers", "dims"),
    [(1, ((E, E),)), (2, ((E, H), (H, E))), (4, ((E, H), (H, H), (H, H), (H, E)))],
)
def test_the_ends_have_the_width_of_the_embedding(num_layers, dims):
    model = RecurrentLM(**(SIZES | {"num_layers": num_layers}))
    assert model.layer_dims == dims


def test_a_text_starts_from_zeros():
    carry = RecurrentLM(**SIZES).initial_carry(B)
    assert [state.h.shape for state in carry] == [(B, H), (B, H), (B, E)]
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(carry))


# ---- masks ----


def test_evaluation_is_dropout_at_rate_zero():
    model, drawn, params, inputs, carry = make(**RATES)
    no_dropout = RecurrentLM(**SIZES)
    drawn = draw(no_dropout)
    assert not jax.tree.leaves(drawn) and not jax.tree.leaves(masks.no_masks(3))
    evaluated = run(model, params, inputs, carry)
    assert_trees_close(evaluated, run(no_dropout, params, inputs, carry, drawn))
    assert_trees_close(evaluated, run(no_dropout, params, inputs, carry))
    log_probs, after = model.log_probs(params, inputs, carry)
    assert_trees_close((log_probs, after), (jax.nn.log_softmax(evaluated[0]), evaluated[1].carry))


def test_each_rate_governs_its_own_masks():
    places = {
        "embed_dropout_rate": {".embedding": (V, 1)},
        "input_dropout_rate": {".input": (1, B, E)},
        "hidden_dropout_rate": {f".layers[{i}].after": (1, B, H) for i in range(2)},
        "output_dropout_rate": {".layers[2].after": (1, B, E)},
        "state_dropout_rate": {f".layers[{i}].state": (B, h) for i, h in enumerate((H, H, E))},
        "weight_drop_rate": {
            f".layers[{i}].weights.w_h": (h, 4 * h) for i, h in enumerate((H, H, E))
        },
        "input_weight_drop_rate": {
            f".layers[{i}].weights.w_x": (d, 4 * h)
            for i, (d, h) in enumerate(((E, H), (H, H), (H, E)))
        },
    }
    places["latent_dropout_rate"] = {".head": (1, B, 2 * E)}
    assert places.keys() == {f for f in RecurrentLM.__dataclass_fields__ if f.endswith("_rate")}
    mixture = {"softmax": "mixture", "num_components": 2}
    for rate, expected in places.items():
        drawn = draw(RecurrentLM(**SIZES, **mixture, **{rate: 0.5}))
        leaves = jax.tree_util.tree_leaves_with_path(drawn)
        assert {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves} == expected


def test_elementwise_dropout_has_a_mask_for_each_step():
    rates = {name: 0.5 for name in RATES if name != "weight_drop_rate"}
    drawn = draw(RecurrentLM(**SIZES, **rates, dropout_kind="elementwise"))
    assert drawn.embedding.shape == (V, 1)
    assert drawn.input.shape == (T, B, E)
    assert [layer.after.shape for layer in drawn.layers] == [(T, B, H), (T, B, H), (T, B, E)]
    for mask in (drawn.input, *(layer.after for layer in drawn.layers)):
        assert 0.2 < jnp.mean(mask[0] != mask[1]) < 0.8


def test_no_two_masks_are_drawn_from_one_key():
    size = 16
    rates = dict.fromkeys((*RATES, "input_weight_drop_rate", "state_dropout_rate"), 0.5)
    model = RecurrentLM(size, size, size, 4, **rates)
    drawn = draw(model, jnp.arange(size))
    by_shape = {}
    for leaf in jax.tree.leaves(drawn):
        by_shape.setdefault(leaf.shape, []).append(leaf)
    assert sorted(map(len, by_shape.values())) == [1, 4, 5, 8]
    for same_shape in by_shape.values():
        for a, b in itertools.combinations(same_shape, 2):
            assert 0.3 < jnp.mean(a != b) < 0.7


def test_devices_share_weight_and_embedding_masks_and_split_the_locked_ones():
    model, whole, *_ = make(**RATES, state_dropout_rate=0.3)
    halves = [draw(model, ids) for ids in jnp.split(IDS, 2)]

    def shared(drawn):
        return drawn.embedding, [layer.weights for layer in drawn.layers]

    def split(drawn):
        states = [layer.state[None] for layer in drawn.layers]
        return drawn.input, states, [layer.after for layer in drawn.layers]

    for half in halves:
        assert_trees_equal(shared(half), shared(whole))
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *map(split, halves))
    assert_trees_equal(joined, split(whole))


def test_gradients_reach_exactly_the_recurrent_weights_that_were_not_dropped():
    """So the mask lies on the weights once for the whole window, and the raw weights learn."""
    model, drawn, params, inputs, carry = make(weight_drop_rate=0.5)
    grads = jax.jit(jax.grad(make_loss(model, inputs, carry, drawn)))(params)
    for layer, weight in enumerate(m.weights for m in drawn.layers):
        np.testing.assert_array_equal(grads[f"lstm_{layer}"]["w_h"] != 0, weight.w_h != 0)
        assert jnp.all(grads[f"lstm_{layer}"]["w_x"] != 0)


def test_dropped_weights_do_not_matter_in_training_but_do_in_evaluation():
    model, drawn, params, inputs, carry = make(weight_drop_rate=0.5)
    changed = jax.tree.map(jnp.copy, params)
    for layer, weight in enumerate(m.weights for m in drawn.layers):
        w_h = params[f"lstm_{layer}"]["w_h"]
        changed[f"lstm_{layer}"]["w_h"] = jnp.where(weight.w_h == 0, w_h + 1, w_h)
    train, evaluate = (jax.jit(make_loss(model, inputs, carry, m)) for m in (drawn, None))
    assert train(params) == train(changed)
    assert evaluate(params) != evaluate(changed)


def test_embedding_dropout_drops_word_types_at_the_look_up_only():
    model, drawn, params, inputs, carry = make(embed_dropout_rate=0.5)
    logits, score = run(model, params, inputs, carry, drawn)

    masked = params | {"embedding": drawn.embedding * params["embedding"]}
    _, expected = run(model, masked, inputs, carry)
    assert_trees_close(score.features, expected.features)
    log_probs = jax.nn.log_softmax(score.features.raw_hs @ params["embedding"].T)
    picked = jnp.take_along_axis(log_probs, as_window(inputs).targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(score.token_nll, -picked, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.nn.log_softmax(logits), log_probs, rtol=1e-5, atol=1e-6)


def test_masks_of_each_sequence_by_vmap():
    """Weight masks too: a sequence alone is a batch of one."""
    model, (params, inputs, carry) = RecurrentLM(**SIZES, **RATES), make_window()

    def one(key, inputs, carry):
        window = as_window(inputs[:, None])
        drawn = model.sample_masks(key, jnp.zeros(1, int), window)
        return model.score(params, window, carry, drawn).token_nll[:, 0]

    keys = jax.random.split(jax.random.key(0), B)
    per_sequence = keys, inputs.T, jax.tree.map(lambda s: s[:, None], carry)
    together = jax.jit(jax.vmap(one))(*per_sequence)
    one_by_one = jax.jit(lambda a: jax.lax.map(lambda b: one(*b), a))(per_sequence)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5, atol=1e-6)


# ---- one embedding ----


def test_the_embeddings_gradient_is_the_sum_of_look_up_and_softmax():
    model, drawn, params, inputs, carry = make(**RATES)
    unseen = jnp.setdiff1d(jnp.arange(V), inputs)

    def loss(look_up, softmax):
        features = model.score(look_up, as_window(inputs), carry, drawn).features
        logits = logits_of(model, softmax, features)
        return jnp.mean(losses.token_nll(logits, jnp.roll(inputs, -1)))

    look_up, softmax = (
        g["embedding"] for g in jax.jit(jax.grad(loss, argnums=(0, 1)))(params, params)
    )
    tied = jax.jit(jax.grad(make_loss(model, inputs, carry, drawn)))(params)["embedding"]
    np.testing.assert_allclose(tied, look_up + softmax, rtol=1e-5, atol=1e-8)
    assert unseen.size and not jnp.any(look_up[unseen]) and jnp.any(look_up)
    assert jnp.all(jnp.any(softmax, axis=1))


def test_length_cuts_the_carry_through_the_whole_model():
    model, drawn, params, inputs, carry = make(**RATES)
    padded_logits, padded = run(model, params, inputs, carry, drawn, 4)
    logits, score = run(model, params, inputs[:4], carry, drawn)
    np.testing.assert_allclose(padded_logits[:4], logits, rtol=1e-5, atol=1e-6)
    assert_trees_close(padded.carry, score.carry)


# ---- the loss without logits, and how products are computed ----


def window_loss(model, inputs, carry, drawn):
    """Of `score`, whose logits are not all in memory."""

    def loss(params):
        return model.score(params, as_window(inputs), carry, drawn).nll / (T * B)

    return loss


def test_the_loss_is_that_of_the_logits_with_every_gradient():
    model, drawn, params, inputs, carry = make(**RATES)
    expected, got = (
        jax.jit(jax.value_and_grad(make_it(model, inputs, carry, drawn)))(params)
        for make_it in (make_loss, window_loss)
    )
    jax.tree.map(lambda e, g: np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-7), expected, got)


@pytest.mark.parametrize("backend", ["fast", "scan"])
def test_bfloat16_rounds_what_is_multiplied_and_nothing_else(backend):
    model, drawn, params, inputs, carry = make(**RATES)
    narrow = model.clone(dtype=jnp.bfloat16, backend=backend)
    narrow_carry = tuple(s._replace(h=s.h.astype(jnp.bfloat16)) for s in carry)
    value, grads = jax.value_and_grad(window_loss(model, inputs, carry, drawn))(params)
    narrow_grad = jax.jit(jax.value_and_grad(window_loss(narrow, inputs, narrow_carry, drawn)))
    loss = window_loss(narrow, inputs, narrow_carry, drawn)
    products = list(all_products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr))
    assert len(products) >= 3 * (2 * model.num_layers + 1)
    for product in products:
        assert {v.aval.dtype for v in product.invars} == {jnp.dtype(jnp.bfloat16)}
    narrow_value, narrow_grads = narrow_grad(params)
    assert narrow_value.dtype == jnp.float32
    np.testing.assert_allclose(narrow_value, value, rtol=1e-3)
    # No lower bound: on a CPU, XLA may leave out the rounding.
    for narrow, wide in zip(*map(jax.tree.leaves, (narrow_grads, grads)), strict=True):
        assert narrow.dtype == jnp.float32
        assert jnp.linalg.norm(narrow - wide) < 0.03 * jnp.linalg.norm(wide)


def test_the_carry_of_bfloat16_keeps_its_dtypes():
    model = RecurrentLM(**SIZES, dtype=jnp.bfloat16)
    params, inputs, _ = make_window()
    carry = model.initial_carry(B)
    _, after = model.log_probs(params, inputs, carry)
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, carry)
    assert {s.c.dtype for s in carry} == {jnp.dtype(jnp.float32)}


# ---- variants ----


def test_layers_as_wide_as_their_input_add_it_to_their_output():
    """Of the sizes here, the one in the middle."""
    params, inputs, carry = make_window()
    plain, model = (RecurrentLM(**SIZES, residual=residual) for residual in (False, True))

    def outputs(model):
        return model.score(params, as_window(inputs), carry).features.raw_hs

    xs = params["embedding"][inputs]
    for layer, (cell, state) in enumerate(zip(plain.cells, carry, strict=True)):
        layer_params = GatedParams(**params[f"lstm_{layer}"])
        hs, _ = cell.unroll(layer_params, state, xs, T)
        xs = xs + hs if layer == 1 else hs
    np.testing.assert_allclose(outputs(model), xs, rtol=1e-5, atol=1e-6)
    assert jnp.any(outputs(model) != outputs(plain))


def test_a_forget_bias_is_that_of_the_initial_parameters_only():
    key = jax.random.key(0)
    plain = RecurrentLM(**SIZES).init_params(key)
    biased = RecurrentLM(**SIZES, forget_gate_bias=1.0).init_params(key)
    for layer, h in enumerate((H, H, E)):
        name = f"lstm_{layer}"
        difference = biased[name].pop("b_x") - plain[name].pop("b_x")
        np.testing.assert_allclose(difference, np.repeat([0, 1, 0, 0], h), atol=1e-6)
    assert_trees_equal(biased, plain)


def test_only_the_first_layer_has_the_filter_of_two():
    model = RecurrentLM(**SIZES, cell="qrnn", filter_width=2)
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    rows = [params[f"qrnn_{i}"]["w"].shape[0] for i in range(3)]
    assert rows == [2 * E, H, H]
    assert [state.x is None for state in model.initial_carry(B)] == [False, True, True]


@pytest.mark.parametrize("cell", CELLS)
def test_layers_are_named_after_their_cell(cell):
    params = jax.eval_shape(RecurrentLM(**SIZES, cell=cell).init_params, jax.random.key(0))
    assert params.keys() == {"embedding", "softmax", *(f"{cell}_{i}" for i in range(3))}
