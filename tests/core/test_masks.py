"""Dropout masks: what they hold, whom they differ between, and which rates are refused."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import masks

KEY = jax.random.key(0)
IDS = jnp.arange(64)


class Params(NamedTuple):
    """Of a layer, as shapes."""

    w_x: Any
    w_h: Any
    b: Any = None


class TwoLayers(NamedTuple):
    """One within the other's place."""

    first: Params
    second: Params


def layer(input_dim, hidden_dim):
    gates = 4 * hidden_dim
    shapes = ((input_dim, gates), (hidden_dim, gates), (gates,))
    return Params(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))


def weight_drop(key, shapes, rate=0.0, input_rate=0.0):
    return masks.sample_weight_drop(key, shapes, ("w_h",), ("w_x",), rate, input_rate)


SAMPLERS = {
    "dropout": lambda key, rate: masks.sample_dropout(key, (64, 400), rate),
    "embedding": lambda key, rate: masks.sample_embedding(key, 20_000, rate),
    "locked": lambda key, rate: masks.sample_locked(key, IDS, 400, rate),
    "elementwise": lambda key, rate: masks.sample_elementwise(key, IDS, 20, 20, rate),
    "w_h": lambda key, rate: weight_drop(key, layer(30, 80), rate).w_h,
    "w_x": lambda key, rate: weight_drop(key, layer(80, 80), 0.0, rate).w_x,
    "nested": lambda key, rate: (
        weight_drop(key, TwoLayers(layer(80, 80), layer(80, 80)), rate).second.w_h
    ),
}
each_sampler = pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)


@each_sampler
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.65])
def test_a_mask_is_zero_or_one_over_keep_and_one_on_average(sample, rate):
    mask = sample(KEY, rate)
    assert mask.dtype == jnp.float32
    np.testing.assert_array_equal(np.unique(mask), np.float32([0, 1 / (1 - rate)]))
    five_sigma = 5 * np.sqrt(rate / (1 - rate) / mask.size)
    assert abs(np.mean(mask) - 1) < five_sigma


@each_sampler
def test_another_key_draws_another_mask(sample):
    a, b, again = (sample(jax.random.key(seed), 0.5) for seed in (0, 1, 0))
    assert 0.4 < jnp.mean(a != b) < 0.6
    np.testing.assert_array_equal(a, again)


@each_sampler
@pytest.mark.parametrize("num_parts", [2, 3, 4])
def test_no_part_of_a_mask_repeats_another(sample, num_parts):
    mask = np.ravel(sample(KEY, 0.5))
    size = mask.size // num_parts
    for start in range(size, size * num_parts, size):
        assert 0.4 < np.mean(mask[:size] != mask[start : start + size]) < 0.6
    assert 0.4 < np.mean(mask[::2][: mask.size // 2] != mask[1::2]) < 0.6


def test_an_odd_number_of_entries_has_no_pattern():
    mask = masks.sample_dropout(KEY, (201, 101), 0.5)
    assert 0.4 < jnp.mean(mask[:100] != mask[101:]) < 0.6


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_any_kind_of_key_draws(kind):
    mask = masks.sample_dropout(jax.random.key(0, impl=kind), (64, 400), 0.5)
    assert abs(jnp.mean(mask) - 1) < 0.05


@each_sampler
def test_a_rate_of_zero_draws_no_mask(sample):
    assert sample(KEY, 0.0) is None


@each_sampler
@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan")])
def test_a_rate_outside_its_range_is_refused(sample, rate):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        sample(KEY, rate)


def test_shapes_say_what_shares_a_mask():
    assert masks.sample_embedding(KEY, 23, 0.5).shape == (23, 1)  # a whole word type
    assert masks.sample_locked(KEY, IDS[:3], 5, 0.5).shape == (1, 3, 5)  # all steps
    assert masks.sample_elementwise(KEY, IDS[:3], 7, 5, 0.5).shape == (7, 3, 5)  # none
    weight = weight_drop(KEY, layer(5, 4), 0.5, 0.5)  # all steps, all sequences
    assert weight.w_x.shape == (5, 16) and weight.w_h.shape == (4, 16)


def test_recurrent_and_input_weights_have_masks_of_their_own():
    weight = weight_drop(KEY, layer(80, 80), 0.5, 0.5)
    assert 0.4 < jnp.mean(weight.w_x != weight.w_h) < 0.6


def test_only_weights_with_a_name_are_dropped_wherever_they_are():
    shapes = TwoLayers(layer(5, 4), layer(5, 4))
    drawn = weight_drop(KEY, shapes, 0.5)
    for one, shape in zip(drawn, shapes, strict=True):
        assert one.w_x is None and one.b is None
        assert one.w_h.shape == shape.w_h.shape
    both = masks.sample_weight_drop(KEY, layer(5, 4), ("w_h", "b"), ("w_x",), 0.5)
    assert both.w_x is None and both.w_h.shape == (4, 16) and both.b.shape == (16,)


def test_every_dropped_weight_has_a_mask_of_its_own():
    drawn = weight_drop(KEY, TwoLayers(layer(80, 80), layer(80, 80)), 0.5, 0.5)
    for a, b in itertools.combinations(jax.tree.leaves(drawn), 2):
        assert 0.4 < jnp.mean(a != b) < 0.6


def test_dropped_weights_are_the_weights_times_their_masks():
    params = Params(*(jnp.full(s.shape, 3.0) for s in layer(5, 4)))
    assert masks.drop_weights(None, params) is params
    drawn = weight_drop(KEY, params, 0.5)
    dropped = masks.drop_weights(drawn, params)
    np.testing.assert_array_equal(dropped.w_h, 3 * drawn.w_h)
    assert dropped.w_x is params.w_x and dropped.b is params.b


@pytest.mark.parametrize("is_packed", [False, True])
def test_float64_keeps_its_digits(is_packed):
    with jax.enable_x64(True):
        x = jnp.arange(1.0, 65) / 3
        mask = masks.sample_dropout(KEY, (64,), 0.5)
        dropped = masks.apply(masks.pack(mask, 0.5) if is_packed else mask, x)
        assert dropped.dtype == jnp.float64
        np.testing.assert_array_equal(dropped, np.asarray(x) * np.asarray(mask))


PER_SEQUENCE = {
    "locked": lambda ids: masks.sample_locked(KEY, ids, 16, 0.5),
    "elementwise": lambda ids: masks.sample_elementwise(KEY, ids, 5, 16, 0.5),
}
each_per_sequence = pytest.mark.parametrize("sample", PER_SEQUENCE.values(), ids=PER_SEQUENCE)


@each_per_sequence
def test_sequences_have_masks_of_their_own(sample):
    mask = sample(IDS)
    for other in range(1, len(IDS)):
        assert jnp.any(mask[:, 0] != mask[:, other])
    assert 0.4 < jnp.mean(mask[:, :1] != mask[:, 1:]) < 0.6


def test_steps_have_masks_of_their_own():
    mask = masks.sample_elementwise(KEY, IDS, 5, 16, 0.5)
    for a, b in itertools.combinations(mask, 2):
        assert 0.4 < jnp.mean(a != b) < 0.6


@each_per_sequence
@pytest.mark.parametrize("num_parts", [2, 4, 64])
def test_any_split_of_the_batch_draws_the_same(sample, num_parts):
    parts = [sample(ids) for ids in jnp.split(IDS, num_parts)]
    np.testing.assert_array_equal(jnp.concatenate(parts, axis=1), sample(IDS))


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_so_it_is_with_other_kinds_of_keys(kind):
    key = jax.random.key(0, impl=kind)
    for sample in (
        lambda ids: masks.sample_locked(key, ids, 16, 0.5),
        lambda ids: masks.sample_elementwise(key, ids, 5, 16, 0.5),
    ):
        np.testing.assert_array_equal(sample(IDS[7:9]), sample(IDS)[:, 7:9])


@each_sampler
def test_samplers_vmap_over_keys(sample):
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(lambda key: sample(key, 0.5))(keys)
    for key, mask in zip(keys, together, strict=True):
        np.testing.assert_array_equal(mask, sample(key, 0.5))


def test_no_mask_leaves_the_array_alone():
    x = jnp.ones((2, 3))
    assert masks.apply(None, x) is x
    np.testing.assert_array_equal(masks.apply(jnp.full((1, 3), 2.0), x), np.full((2, 3), 2.0))


def test_evaluation_has_no_masks():
    none = masks.no_masks(3)
    assert not jax.tree.leaves(none)
    assert len(none.layers) == 3


def test_a_packed_mask_is_the_same_in_a_byte_an_entry():
    mask = masks.sample_elementwise(KEY, IDS, 3, 20, 0.3)
    packed = masks.pack(mask, 0.3)
    assert packed.is_kept.dtype == bool
    xs = jax.random.normal(KEY, mask.shape)
    np.testing.assert_allclose(masks.apply(packed, xs), masks.apply(mask, xs), rtol=1e-6)
    assert masks.apply(packed, xs.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert masks.pack(None, 0.0) is None
