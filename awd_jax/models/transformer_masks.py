"""The dropout masks of a Transformer, drawn before the pass."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key

from awd_jax.core import masks as dropout
from awd_jax.core import transformer


class TransformerMasks(NamedTuple):
    """All masks of one window; None means no dropout there."""

    embedding: Float[Array, "V 1"] | None
    input: dropout.Kept | None  # [1, B, D] or [T, B, D]
    distances: dropout.Kept | None  # the table of relative positions: [1, D] or [K, D]
    layers: tuple[transformer.LayerMasks, ...]
    output: dropout.Kept | None  # [1, B, D] or [T, B, D]
    head: Any


def no_masks(num_layers: int) -> TransformerMasks:
    """Returns the masks of evaluation: no dropout anywhere."""
    layers = (transformer.LayerMasks(),) * num_layers
    return TransformerMasks(None, None, None, layers, None, None)


def sample_masks(
    model: Any, key: Key[Array, ""], sequence_ids: Int[Array, "B"], num_steps: int
) -> TransformerMasks:
    """Draws all masks of one window.

    Args:
      model: a `TransformerLM`, for its sizes and rates.
      key: of this window; the same on every device.
      sequence_ids: index of each sequence in the global batch. Masks of activations depend on it;
        those of the embedding, of relative positions and of weights do not.
      num_steps: T.
    """
    num_keys = model.memory_length + num_steps
    is_locked = model.dropout_kind == "locked"
    keys = jax.random.split(key, 5 + model.num_layers)
    key_embedding, key_input, key_distances, key_output, key_head, *layer_keys = keys

    shapes = _dropped_shapes(model)

    def activations(
        key: Key[Array, ""], dim: int, rate: float, is_locked: bool = is_locked
    ) -> dropout.Kept | None:
        mask = dropout.sample_activations(key, sequence_ids, num_steps, dim, rate, is_locked)
        return dropout.pack(mask, rate)

    def of_layer(key: Key[Array, ""]) -> transformer.LayerMasks:
        key_weights, key_attention, key_attended, key_inner, key_after = jax.random.split(key, 5)
        weights: transformer.DropMasks = dropout.sample_weight_drop(
            key_weights, shapes, transformer.DROPPED, (), model.weight_drop_rate
        )
        rate, dim = model.attention_dropout_rate, model.num_heads * num_keys
        attention = activations(key_attention, dim, rate, is_locked=False)
        if attention is not None:
            shape = (num_steps, -1, model.num_heads, num_keys)
            attention = attention._replace(is_kept=attention.is_kept.reshape(shape))
        return transformer.LayerMasks(
            weights,
            attention,
            activations(key_attended, model.embed_dim, model.attended_dropout_rate),
            activations(key_inner, model.inner_dim, model.feedforward_dropout_rate),
            activations(key_after, model.embed_dim, model.feedforward_dropout_rate),
        )

    rate = model.input_dropout_rate
    distances = None
    if model.positions == "relative":
        shape = (1 if is_locked else num_keys, model.embed_dim)
        distances = dropout.pack(dropout.sample_dropout(key_distances, shape, rate), rate)
    return TransformerMasks(
        embedding=dropout.sample_embedding(
            key_embedding, model.vocab_size, model.embed_dropout_rate
        ),
        input=activations(key_input, model.embed_dim, rate),
        distances=distances,
        layers=tuple(map(of_layer, layer_keys)),
        output=activations(key_output, model.embed_dim, model.output_dropout_rate),
        head=model.head.sample_masks(key_head, sequence_ids, model.embed_dim),
    )


def _dropped_shapes(model: Any) -> transformer.DropMasks:
    """The parameters of a layer as shapes, from which weight drop takes those that it masks."""
    key, sizes = jax.random.key(0), (model.embed_dim, model.num_heads * model.head_dim)
    return transformer.DropMasks(
        jax.eval_shape(lambda k: transformer.init_layer(k, *sizes, model.inner_dim), key),
        jax.eval_shape(lambda k: transformer.init_relative(k, *sizes), key),
    )
