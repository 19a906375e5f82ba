"""Sequence to sequence: an encoder reads a source, and a decoder writes its target.

Sutskever, Vinyals and Le 2014 (arXiv 1409.3215); with attention, Luong, Pham and Manning 2015
(arXiv 1508.04025); GNMT, Wu et al. 2016 (arXiv 1609.08144).
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Pair
from awd_jax.core import decoder as decoding
from awd_jax.core import masks as dropout
from awd_jax.core.alignment import ALIGNMENTS, init_combine, make_memory
from awd_jax.core.cells import Backend
from awd_jax.core.decoder import HandOver, Placement, Reading
from awd_jax.core.encoder import encode
from awd_jax.core.heads import HEADS
from awd_jax.core.parts import make_part
from awd_jax.core.softmax import Head, init_embedding
from awd_jax.core.unroll import Features
from awd_jax.models import scoring
from awd_jax.models.contract import Carry, Params, Score
from awd_jax.models.seq2seq_layers import Layers, make_layers
from awd_jax.models.seq2seq_masks import PairMasks, no_masks, sample_masks


class Seq2Seq(nn.Module):
    """An encoder, a decoder with or without attention, and a softmax."""

    vocab_size: int  # of the targets
    source_vocab_size: int
    embed_dim: int
    hidden_dim: int
    encoder_layers: int = 1
    decoder_layers: int = 1
    cell: str = "lstm"  # a key of CELLS, on both sides
    softmax: str = "separate"  # a key of HEADS
    backend: Backend = "auto"  # how a layer is unrolled over time
    share_embeddings: bool = False  # source and target have one vocabulary and one embedding
    reverse_source: bool = False  # read the source backwards
    bidirectional: Literal["none", "bottom", "all"] = "none"  # encoder layers in both directions
    residual_from: int = 0  # first layer, from 1 on, that adds its input to its output; 0: none
    hand_over: HandOver = "state"  # what decoder layers start with
    peeky: bool = False  # inputs of the decoder and the softmax include the summary of the source
    attention: str = "none"  # none, or a key of ALIGNMENTS
    placement: Placement = "softmax"
    attended_dim: int = 0  # of Luong's attentional state; 0: hidden_dim
    initializer: Literal["parts", "fan_in"] = "parts"  # how parameters are drawn: see `init_params`
    # Options of some cells and heads: see there. The defaults mean "not used".
    forget_gate_bias: float = 0.0
    cap_input_gate: bool = False
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0
    filter_width: Literal[1, 2] = 1  # of the first layer of each side
    memory_rows: int = 0
    memory_dim: int = 0
    memory_heads: int = 1
    max_shift: int = 1
    num_components: int = 0
    cutoffs: tuple[int, ...] = ()
    div_val: int = 1
    untie_first_projection: bool = False
    latent_dropout_rate: float = 0.0
    dropout_kind: Literal["locked", "elementwise"] = "locked"  # one mask per batch, or per step
    embed_dropout_rate: float = 0.0
    input_dropout_rate: float = 0.0
    hidden_dropout_rate: float = 0.0
    output_dropout_rate: float = 0.0
    state_dropout_rate: float = 0.0
    weight_drop_rate: float = 0.0
    input_weight_drop_rate: float = 0.0
    dtype: DTypeLike | None = None  # of activations and products; None: that of the parameters

    @property
    def layers(self) -> Layers:
        """The layers of both sides."""
        return make_layers(self)

    @property
    def feature_dim(self) -> int:
        """Width of the features that the softmax reads, D of `Features`."""
        return self.layers.feature_dim

    @property
    def head(self) -> Head:
        """How target ids become vectors, and features probabilities."""
        head: Head = make_part(HEADS, self.softmax, self)
        return head

    @property
    def has_combine(self) -> bool:
        """Whether the features are Luong's attentional states."""
        return self.placement in ("luong", "input_feeding")

    def setup(self) -> None:  # noqa: D102
        layers, declare = self.layers, functools.partial(scoring.declare, self)
        size, source_size, embed_dim = self.vocab_size, self.source_vocab_size, self.embed_dim
        self.embedding = declare("embedding", self.head.init_table, size, embed_dim)
        if not self.share_embeddings:
            init = init_embedding
            self.source_embedding = declare("source_embedding", init, source_size, embed_dim)
        self.encoder, self.decoder = (
            [
                declare(f"{side}_{i}", cell.init, d, h)
                for i, (cell, (d, h)) in enumerate(zip(stack.cells, stack.dims, strict=True))
            ]
            for side, stack in (("encoder", layers.encoder), ("decoder", layers.decoder))
        )
        hidden_dim, memory_dim = self.hidden_dim, layers.memory_dim
        if self.attention != "none":
            init = ALIGNMENTS[self.attention].init
            self.scores = declare("attention", init, hidden_dim, memory_dim, hidden_dim)
        if self.has_combine:
            output_dim = self.attended_dim or hidden_dim
            self.combine = declare("combine", init_combine, memory_dim, hidden_dim, output_dim)
        self.own = declare("softmax", self.head.init, size, layers.feature_dim, embed_dim)

    @nn.nowrap
    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters, each part as its own `init` does; or all by `scoring.by_fan_in`."""
        params = scoring.init_params(self, key)
        return scoring.by_fan_in(key, params) if self.initializer == "fan_in" else params

    @nn.nowrap
    def initial_carry(self, batch_size: int) -> Carry:
        """Returns (): nothing goes from batch to batch."""
        del batch_size
        return ()

    @nn.nowrap
    def for_evaluation(self) -> "Seq2Seq":
        """Returns the model itself: without masks, it is the same in evaluation."""
        return self

    @nn.nowrap
    def sample_masks(
        self, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Pair
    ) -> PairMasks:
        """Draws all masks of a batch; reads only the shapes of the batch."""
        return sample_masks(self, key, sequence_ids, batch)

    @nn.nowrap
    def score(
        self, params: Params, batch: Pair, carry: Carry, masks: PairMasks | None = None
    ) -> Score:
        """Scores the targets of a batch, each after its source."""
        return scoring.score(self, params, batch, masks, lambda b: (b.run(batch, masks)[0], carry))

    @nn.nowrap
    def read(
        self, params: Params, sources: Int[Array, "S B"], source_weights: Float[Array, "S B"]
    ) -> Reading:
        """Reads sources; returns the carry before the first token of their targets."""
        found: Any = self.apply({"params": params}, sources, source_weights, method="encode")
        return found

    @nn.nowrap
    def log_probs(
        self, params: Params, inputs: Int[Array, "T B"], carry: Reading
    ) -> tuple[Float[Array, "T B V"], Reading]:
        """Returns the log-probability of every token after each input, in nats, and the carry."""

        def run(bound: Seq2Seq) -> tuple[Features, Reading]:
            features, _, after = bound.write(inputs, carry)
            return features, after

        return scoring.log_probs(self, params, run)

    @nn.nowrap
    def attended(self, carry: Reading) -> Float[Array, "B S"]:
        """Returns the attention that each source token has had so far: its sum over the steps.

        Raises:
          ValueError: the model has no attention.
        """
        if carry.attended is None:
            raise ValueError("attended: the model has no attention")
        return carry.attended

    @nn.nowrap
    def alignment(self, params: Params, batch: Pair) -> Float[Array, "T B S"]:
        """Returns the attention of each step of the targets to each source token."""
        weights: Any = self.apply({"params": params}, batch, method=lambda b, x: b.run(x)[1])
        return weights

    def run(
        self, batch: Pair, masks: PairMasks | None = None
    ) -> tuple[Features, Float[Array, "T B S"] | None]:
        """Returns the features and the attention of every step of the targets."""
        reading = self.encode(batch.sources, batch.source_weights, masks)
        return self.write(batch.inputs, reading, masks)[:2]

    def encode(
        self,
        sources: Int[Array, "S B"],
        source_weights: Float[Array, "S B"],
        masks: PairMasks | None = None,
    ) -> Reading:
        """Returns the sources as they have been read; padding changes nothing."""
        drawn = dropout.no_masks(self.encoder_layers) if masks is None else masks.encoder
        num_steps, batch_size = sources.shape
        # An idle sequence reads one token: without any, the softmax over its positions is 0 / 0.
        length = jnp.maximum(jnp.sum(source_weights > 0, axis=0), 1)
        if self.share_embeddings:
            xs = scoring.look_up(self, sources, drawn.embedding)
        else:
            xs = dropout.apply_rows(drawn.embedding, sources, self.source_embedding[sources])
        layers = self.layers
        encoded = encode(
            layers.encoder.cells,
            self.encoder,
            layers.encoder.initial_states(batch_size, self.dtype),
            xs if self.dtype is None else xs.astype(self.dtype),
            length,
            drawn,
            self.reverse_source,
        )
        memory = attended = None
        if self.attention != "none":
            is_real = jnp.arange(num_steps)[:, None] < length[None]
            memory = make_memory(ALIGNMENTS[self.attention], self.scores, encoded.hs, is_real)
            attended = jnp.zeros((batch_size, num_steps))
        fed = jnp.zeros((batch_size, layers.fed_dim), encoded.hs.dtype)
        fresh = layers.decoder.initial_states(batch_size, self.dtype)
        summary = encoded.summary if self.peeky else None
        states = decoding.hand_over(self.hand_over, fresh, encoded.states)
        return Reading(memory, summary, states, fed, attended)

    def write(
        self, inputs: Int[Array, "T B"], reading: Reading, masks: PairMasks | None = None
    ) -> tuple[Features, Float[Array, "T B S"] | None, Reading]:
        """Returns features and attention of each step of targets, and the reading after them."""
        if masks is None:
            masks = no_masks(self.encoder_layers, self.decoder_layers)
        layers, scores = self.layers, ALIGNMENTS.get(self.attention)
        decoder = decoding.Decoder(layers.decoder.cells, layers.step_cells, scores, self.placement)
        params = decoding.DecoderParams(
            self.decoder,
            None if scores is None else self.scores,
            self.combine if self.has_combine else None,
        )
        xs = scoring.look_up(self, inputs, masks.decoder.embedding)
        xs = xs if self.dtype is None else xs.astype(self.dtype)
        raw, weights, after = decoding.write(decoder, params, reading, xs, masks.decoder)
        return Features(raw, dropout.apply(masks.output, raw)), weights, after
