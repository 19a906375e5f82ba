"""A classifier of texts: padding, chunks, masks, replicas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.batches import LabelCounts, Labelled
from awd_jax.models.classifier import text_classifier
from awd_jax.run.replicas import AXIS
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.state import init_state
from awd_jax.train.step import STATE_AXES, Regularisers, make_train_step
from configs import ulmfit
from tests.models.test_models import assert_close

V, K, B, T = 9, 3, 4, 10
LENGTHS = (10, 7, 4, 1)


def make_model(**fields):
    options = {
        "embed_dim": 5,
        "hidden_dim": 6,
        "num_layers": 2,
        "head_dim": 4,
        "pooled_dropout_rate": 0.0,
        "head_dropout_rate": 0.0,
        "chunk_length": 4,
        "pooled_length": 100,
    }
    return text_classifier(V, K, **(options | fields))


def make_batch(num_steps=T, lengths=LENGTHS):
    inputs = np.random.RandomState(0).randint(0, V, (T, B)).astype(np.int32)
    inputs = np.pad(inputs, ((0, num_steps - T), (0, 0)), constant_values=V - 1)
    weights = (np.arange(num_steps)[:, None] < np.array(lengths)).astype(np.float32)
    labels = np.arange(B, dtype=np.int32)[None] % K
    label_weights = np.float32([[1, 1, 2, 1]])
    num = np.float32(sum(lengths))
    counts = LabelCounts(num, num - B, label_weights.sum())
    batch = Labelled(inputs, weights, labels, label_weights, counts)
    return jax.tree.map(jnp.asarray, batch)


@functools.cache
def params_of(model):
    return jax.tree.map(lambda p: 2 * p, model.init_params(jax.random.key(0)))


def grads_of(model, batch, masks=None):
    return jax.jit(jax.grad(lambda params: model.score(params, batch, (), masks).nll))(
        params_of(model)
    )


def score_of(model, batch, masks=None):
    return jax.jit(model.score)(params_of(model), batch, (), masks)


def draw(model, batch):
    return model.sample_masks(jax.random.key(1), jnp.arange(B), batch)


@pytest.mark.parametrize("is_training", [False, True])
def test_padding_changes_neither_the_loss_nor_a_gradient(is_training):
    model = make_model(hidden_dropout_rate=0.3, weight_drop_rate=0.3, pooled_dropout_rate=0.3)
    batch, padded = make_batch(), make_batch(num_steps=T + 5)
    masks = draw(model, batch) if is_training else None
    score, other = (score_of(model, b, masks) for b in (batch, padded))
    np.testing.assert_allclose(score.token_nll, other.token_nll, rtol=1e-5)
    assert_close(grads_of(model, padded, masks), grads_of(model, batch, masks), 1e-4, 1e-6)


def test_the_chunks_are_one_text_and_its_gradient_stays_within_them():
    """The state passes on: the loss is that of a single chunk. The gradient of the embedding of a
    token in the first chunk misses what went through the state."""
    chunked, whole, batch = make_model(), make_model(chunk_length=T), make_batch()
    np.testing.assert_allclose(
        score_of(chunked, batch).token_nll, score_of(whole, batch).token_nll, rtol=1e-5
    )
    # Only the last step is pooled, which is in the third chunk of the first text.
    last = {"pooled_length": 1}
    grads = grads_of(make_model(**last), batch)["encoder"]["embedding"]
    own = np.unique(batch.inputs[8:10, 0])
    others = np.concatenate([batch.inputs[4:7, 1], batch.inputs[:4, 2], batch.inputs[:1, 3]])
    reached = set(own) | set(others.tolist())
    for token in range(V):
        assert np.any(grads[token]) == (token in reached)
    everything = grads_of(make_model(chunk_length=T, **last), batch)["encoder"]["embedding"]
    assert np.any(everything[np.array([t for t in np.unique(batch.inputs) if t not in reached])])


def test_only_the_end_of_a_text_is_pooled():
    model, batch = make_model(pooled_length=3), make_batch()
    features = np.asarray(score_of(model, batch).features.dropped_hs)
    ends = [features[max(0, n - 3) : n, column] for column, n in enumerate(LENGTHS)]
    pooled = np.stack([np.concatenate([h[-1], h.max(axis=0), h.mean(axis=0)]) for h in ends])
    params = jax.device_get(params_of(model))
    xs = pooled
    for name in ("block_0", "block_1"):
        block = params[name]
        norm = block["norm"]
        xs = (xs - norm["mean"]) / np.sqrt(norm["variance"] + np.float32(1e-5)) * norm["scale"]
        xs = (xs + norm["shift"]) @ block["w"] + block["b"]
        xs = np.maximum(xs, 0) if name == "block_0" else xs
    np.testing.assert_allclose(
        model.log_probs(params_of(model), batch), jax.nn.log_softmax(xs), rtol=1e-4, atol=1e-5
    )


def test_the_weight_of_a_class_counts_its_documents_as_often():
    model, batch = make_model(), make_batch()
    score = score_of(model, batch)
    np.testing.assert_allclose(score.nll, (score.token_nll * batch.label_weights).sum(), rtol=1e-6)


def test_one_and_four_replicas_take_the_same_step_and_its_norm_is_of_gradients():
    config = ulmfit.get_config()
    config.model.num_layers = 2
    model = make_model(
        **{"hidden_dropout_rate": 0.3, "pooled_dropout_rate": 0.3, "head_dropout_rate": 0.3},
        **{"weight_drop_rate": 0.3, "embed_dropout_rate": 0.2, "axis_name": AXIS},
    )
    optimizer = make_optimizer(config.optimizer, num_groups=4, num_updates=10)
    step = make_train_step(model, optimizer, Regularisers(2.0, 1.0), seed=0)
    rates = np.float32([0, 0.01, 0.02, 0.05])

    def train(num_replicas, running_mean=0.0):
        state = init_state(model, optimizer, 0, B)
        norm = state.params["block_0"]["norm"]
        norm["mean"] = jnp.full_like(norm["mean"], running_mean)

        def split(array):
            if np.ndim(array) == 0:
                return jnp.broadcast_to(array, num_replicas)
            return jnp.stack(jnp.split(array, num_replicas, axis=1))

        mapped = jax.jit(jax.vmap(step, (STATE_AXES, 0, None), axis_name=AXIS))
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
            state = mapped(state, jax.tree.map(split, make_batch()), rates)
        return jax.tree.map(lambda leaf: leaf[0], (state.params, state.totals))

    one = train(1)
    before = model.init_params(jax.random.fold_in(jax.random.key(0), 0))
    for name in ("embedding", "lstm_0"):
        is_frozen = name == "embedding"  # whose rate is 0
        same = jax.tree.map(
            lambda a, b: bool(np.array_equal(a, b)),
            one[0]["encoder"][name],
            before["encoder"][name],
        )
        assert all(jax.tree.leaves(same)) == is_frozen
    assert np.any(one[0]["block_0"]["norm"]["mean"])
    assert_close(train(4), one, 1e-4, 1e-6)
    # A running mean moves by its distance from the batch's, which is none of the loss.
    np.testing.assert_allclose(train(1, 100.0)[1].grad_norm, one[1].grad_norm, rtol=1e-5)
