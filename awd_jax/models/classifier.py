"""A classifier of texts on the encoder of a language model: ULMFiT (Howard and Ruder 2018)."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.serialization import from_state_dict, to_state_dict
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Labelled
from awd_jax.core import losses
from awd_jax.core import masks as dropout
from awd_jax.core.batch_norm import BatchNormParams, batch_norm, init_batch_norm, normalise
from awd_jax.core.draws import uniform
from awd_jax.core.pooling import concat_pool, last_steps
from awd_jax.core.product import affine
from awd_jax.core.unroll import Features
from awd_jax.models.contract import Carry, Params, Score
from awd_jax.models.recurrent import RecurrentLM


class Block(NamedTuple):
    """A layer of the head: batch normalisation, dropout, an affine map."""

    norm: BatchNormParams
    w: Float[Array, "D G"]
    b: Float[Array, "G"]


class ClassifierMasks(NamedTuple):
    """All masks of one batch."""

    encoder: dropout.Masks
    blocks: tuple[Float[Array, "B _"] | None, ...]


@dataclasses.dataclass(frozen=True)
class TextClassifier:
    """The encoder's features, pooled over a document, and two blocks with a ReLU between.

    A document is read in chunks: its state passes from one to the next, its gradient does not; the
    features of all chunks are pooled, and have gradients (BPT3C). All chunks have the same masks.
    """

    encoder: RecurrentLM
    num_classes: int
    head_dim: int = 50  # between the blocks
    pooled_dropout_rate: float = 0.0  # of the first block
    head_dropout_rate: float = 0.0  # of the second one
    chunk_length: int = 70  # tokens
    pooled_length: int = 1400  # tokens at the end of a document that are pooled
    axis_name: str | None = None  # of the devices that share a batch, for its mean and variance

    @property
    def _block_dims(self) -> tuple[tuple[int, int], ...]:
        pooled_dim = 3 * self.encoder.feature_dim
        return (pooled_dim, self.head_dim), (self.head_dim, self.num_classes)

    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters; those of `encoder` are a language model's, its softmax included."""
        key_encoder, *keys = jax.random.split(key, 3)
        return {
            "encoder": self.encoder.init_params(key_encoder),
            **{
                f"block_{i}": to_state_dict(_init_block(k, *dims))
                for i, (k, dims) in enumerate(zip(keys, self._block_dims, strict=True))
            },
        }

    def for_evaluation(self) -> "TextClassifier":
        """Returns the model itself: without masks, it is the same in evaluation."""
        return self

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns an empty carry: nothing passes from batch to batch."""
        del batch_size
        return ()

    def sample_masks(
        self, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Labelled
    ) -> ClassifierMasks:
        """Draws all masks of a batch, as `RecurrentLM.sample_masks` does those of a window."""
        key_encoder, *keys = jax.random.split(key, 3)
        rates = (self.pooled_dropout_rate, self.head_dropout_rate)
        blocks = (
            dropout.sample_locked(k, sequence_ids, dim, rate)
            for k, (dim, _), rate in zip(keys, self._block_dims, rates, strict=True)
        )
        return ClassifierMasks(
            self.encoder.sample_masks(key_encoder, sequence_ids, batch),
            tuple(None if mask is None else mask[0] for mask in blocks),
        )

    def score(
        self,
        params: Params,
        batch: Labelled,
        carry: Carry,
        masks: ClassifierMasks | None = None,
    ) -> Score:
        """Scores the labels of a batch; with masks, by the mean and variance of this batch."""
        features, logits, drift = self._run(params, batch, masks)
        nll = losses.token_nll(logits[None], batch.labels)
        # Zero, with the gradient of the drift: each document has its share of it.
        still = drift - jax.lax.stop_gradient(drift)
        total = (batch.label_weights * (nll + still)).sum()
        return Score(total, jax.lax.stop_gradient(nll), features, carry)

    def log_probs(self, params: Params, batch: Labelled) -> Float[Array, "B K"]:
        """Returns the log-probability of every class for each document, in nats."""
        return jax.nn.log_softmax(self._run(params, batch, None)[1])

    def _run(
        self, params: Params, batch: Labelled, masks: ClassifierMasks | None
    ) -> tuple[Features, Float[Array, "B K"], Float[Array, ""]]:
        features = self._read(params["encoder"], batch.inputs, masks and masks.encoder)
        xs = concat_pool(features.dropped_hs, last_steps(batch.weights, self.pooled_length))
        is_real = (batch.label_weights[0] > 0).astype(xs.dtype)
        drift = jnp.zeros((), xs.dtype)
        for i, dims in enumerate(self._block_dims):
            block = _as_block(params[f"block_{i}"], dims)
            xs = xs if i == 0 else jax.nn.relu(xs)
            if masks is None:
                xs = normalise(block.norm, xs)
            else:
                xs, moved = batch_norm(block.norm, xs, is_real, self.axis_name)
                xs, drift = dropout.apply(masks.blocks[i], xs), drift + moved
            xs = affine(xs, block.w, block.b)
        return features, xs, drift

    def _read(
        self, params: Params, inputs: Int[Array, "T B"], masks: dropout.Masks | None
    ) -> Features:
        num_steps, batch_size = inputs.shape
        length = min(self.chunk_length, num_steps)
        num_chunks = -(-num_steps // length)
        padded = jnp.pad(inputs, ((0, num_chunks * length - num_steps), (0, 0)))

        def read(carry: Carry, chunk: Int[Array, "L B"]) -> tuple[Carry, Features]:
            features, carry = self.encoder.apply(
                {"params": params}, chunk, jax.lax.stop_gradient(carry), masks, method="features"
            )
            return carry, features

        chunks = padded.reshape(num_chunks, length, batch_size)
        _, found = jax.lax.scan(read, self.encoder.initial_carry(batch_size), chunks)
        joined: Any = jax.tree.map(
            lambda hs: hs.reshape(num_chunks * length, *hs.shape[2:])[:num_steps], found
        )
        return joined


def text_classifier(
    vocab_size: int,
    num_classes: int,
    *,
    head_dim: int,
    pooled_dropout_rate: float,
    head_dropout_rate: float,
    chunk_length: int,
    pooled_length: int,
    axis_name: str | None = None,
    **encoder: Any,
) -> TextClassifier:
    """Returns a classifier on an encoder with these fields of `RecurrentLM`."""
    return TextClassifier(
        RecurrentLM(vocab_size, **encoder),
        num_classes,
        head_dim,
        pooled_dropout_rate,
        head_dropout_rate,
        chunk_length,
        pooled_length,
        axis_name,
    )


def _init_block(key: Key[Array, ""], input_dim: int, output_dim: int) -> Block:
    """Draws the matrix and the bias from U(-1/sqrt(D), 1/sqrt(D)), as torch does."""
    key_w, key_b = jax.random.split(key)
    return Block(
        init_batch_norm(input_dim),
        uniform(key_w, (input_dim, output_dim), input_dim),
        uniform(key_b, (output_dim,), input_dim),
    )


def _as_block(params: Params, dims: tuple[int, int]) -> Block:
    shapes = jax.eval_shape(lambda key: _init_block(key, *dims), jax.random.key(0))
    block: Block = from_state_dict(shapes, params)
    return block
