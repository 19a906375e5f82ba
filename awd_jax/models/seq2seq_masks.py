"""The dropout masks of a model from sequence to sequence."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Pair
from awd_jax.core import masks as dropout
from awd_jax.core.unroll import StackKeys, sample_stack, stack_rates
from awd_jax.models.seq2seq_layers import Stack


class PairMasks(NamedTuple):
    """All masks of a batch."""

    encoder: dropout.Masks
    decoder: dropout.Masks
    output: Float[Array, "... B D"] | None = None  # of the features: [1, B, D] or [T, B, D]

    @property
    def head(self) -> Any:
        """The masks of the softmax."""
        return self.decoder.head


def no_masks(encoder_layers: int, decoder_layers: int) -> PairMasks:
    """Returns the masks of evaluation: no dropout anywhere."""
    return PairMasks(dropout.no_masks(encoder_layers), dropout.no_masks(decoder_layers))


def sample_masks(
    model: Any, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Pair
) -> PairMasks:
    """Draws all masks of a batch, from the rates of a `Seq2Seq`; reads only the batch's shapes.

    A shared embedding has one mask, so a word type is dropped on both sides or on none.
    """
    key_encoder, key_decoder, key_output, key_head, key_embedding = jax.random.split(key, 5)
    is_locked = model.dropout_kind == "locked"
    layers = model.layers

    def side(key: Key[Array, ""], stack: Stack, num_steps: int) -> dropout.Masks:
        key_input, key_after, key_state, key_weights = jax.random.split(key, 4)
        num_layers = len(stack.cells)
        # Nothing after the last layer: what it puts out is attended to, or is a feature.
        rates = stack_rates(model, num_layers, last=0.0)
        keys = StackKeys([*jax.random.split(key_after, num_layers)], key_state, key_weights)
        rate = model.input_dropout_rate
        drawn = dropout.sample_activations(
            key_input, sequence_ids, num_steps, model.embed_dim, rate, is_locked
        )
        layer_masks = sample_stack(keys, rates, *stack, sequence_ids, num_steps)
        return dropout.Masks(None, drawn, layer_masks)

    rate = model.embed_dropout_rate
    key_target, key_source = jax.random.split(key_embedding)
    target = source = dropout.sample_embedding(key_target, model.vocab_size, rate)
    if not model.share_embeddings:
        source = dropout.sample_embedding(key_source, model.source_vocab_size, rate)
    encoder = side(key_encoder, layers.encoder, len(batch.sources))
    decoder = side(key_decoder, layers.decoder, len(batch.inputs))
    head = model.head.sample_masks(key_head, sequence_ids, model.embed_dim)
    output = dropout.sample_activations(
        *(key_output, sequence_ids, len(batch.inputs), layers.feature_dim),
        *(model.output_dropout_rate, is_locked),
    )
    return PairMasks(
        encoder._replace(embedding=source), decoder._replace(embedding=target, head=head), output
    )
