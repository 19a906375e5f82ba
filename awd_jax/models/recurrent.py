"""Recurrent language models, such as the AWD-LSTM of Merity, Keskar and Socher (2018)."""

from typing import Literal

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Labelled, Window
from awd_jax.core import masks as dropout
from awd_jax.core.cells import Backend, make_cells
from awd_jax.core.heads import HEADS
from awd_jax.core.parts import make_part
from awd_jax.core.recurrence import Cell, residual
from awd_jax.core.softmax import Head
from awd_jax.core.unroll import Features, StackKeys, sample_stack, stack_rates, unroll_stack
from awd_jax.models import scoring
from awd_jax.models.contract import Carry, Params, Score


class RecurrentLM(nn.Module):
    """Embedding, a stack of recurrent layers with dropout, and a softmax that shares the embedding.

    The first layer reads `embed_dim` features, and the last one puts out as many, or
    `last_hidden_dim`; the other widths are `hidden_dim`. Only `sample_masks` reads the dropout
    rates: the forward pass is a deterministic function of (params, masks, carry, inputs).
    """

    vocab_size: int
    embed_dim: int
    hidden_dim: int
    num_layers: int
    cell: str = "lstm"  # a key of CELLS
    softmax: str = "tied"  # a key of HEADS
    backend: Backend = "auto"  # how a layer is unrolled over time
    last_hidden_dim: int = 0  # of the last layer; 0: embed_dim. See `softmax`: not all read others
    residual: bool = False  # add a layer's input to its output if equally wide
    sum_outputs: bool = False  # features: the sum of all layers' outputs, not the last one's
    # Options of some cells and heads: see there. The defaults mean "not used".
    forget_gate_bias: float = 0.0
    cap_input_gate: bool = False
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0
    filter_width: Literal[1, 2] = 1  # of the first layer
    memory_rows: int = 0
    memory_dim: int = 0
    memory_heads: int = 1
    max_shift: int = 1
    num_components: int = 0
    cutoffs: tuple[int, ...] = ()
    div_val: int = 1
    untie_first_projection: bool = False
    latent_dropout_rate: float = 0.0
    dropout_kind: Literal["locked", "elementwise"] = "locked"  # one mask per window, or per step
    embed_dropout_rate: float = 0.0
    input_dropout_rate: float = 0.0
    hidden_dropout_rate: float = 0.0
    output_dropout_rate: float = 0.0
    state_dropout_rate: float = 0.0
    weight_drop_rate: float = 0.0
    input_weight_drop_rate: float = 0.0
    dtype: DTypeLike | None = None  # of activations and products; None: that of the parameters

    @property
    def layer_dims(self) -> tuple[tuple[int, int], ...]:
        """(D, H) of each layer."""
        inner = (self.hidden_dim,) * (self.num_layers - 1)
        return tuple(zip((self.embed_dim, *inner), (*inner, self.feature_dim), strict=True))

    @property
    def feature_dim(self) -> int:
        """Width of the features that the softmax reads, D of `Features`."""
        return self.last_hidden_dim or self.embed_dim

    @property
    def row_params(self) -> tuple[str, ...]:
        """Names of the parameters with one row per token."""
        return scoring.row_params(self.softmax)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cell of each layer."""
        cells = make_cells(self, self.num_layers)
        return tuple(
            residual(cell) if self.residual and d == h else cell
            for cell, (d, h) in zip(cells, self.layer_dims, strict=True)
        )

    @property
    def head(self) -> Head:
        """How ids become vectors, and features probabilities."""
        head: Head = make_part(HEADS, self.softmax, self)
        return head

    def setup(self) -> None:  # noqa: D102
        table_sizes = (self.vocab_size, self.embed_dim)
        own_sizes = (self.vocab_size, self.feature_dim, self.embed_dim)
        self.embedding = scoring.declare(self, "embedding", self.head.init_table, *table_sizes)
        self.layers = [
            scoring.declare(self, f"{self.cell}_{i}", cell.init, d, h)
            for i, (cell, (d, h)) in enumerate(zip(self.cells, self.layer_dims, strict=True))
        ]
        self.own = scoring.declare(self, "softmax", self.head.init, *own_sizes)

    @nn.nowrap
    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters."""
        return scoring.init_params(self, key)

    @nn.nowrap
    def initial_carry(self, batch_size: int) -> Carry:
        """Returns the state of every layer at the start of a text: zeros."""
        return tuple(
            cell.initial_state(batch_size, d, h, self.dtype)
            for cell, (d, h) in zip(self.cells, self.layer_dims, strict=True)
        )

    @nn.nowrap
    def for_evaluation(self) -> "RecurrentLM":
        """Returns the model itself: without masks, it is the same in evaluation."""
        return self

    @nn.nowrap
    def remembering(self, num_tokens: int) -> "RecurrentLM":
        """Returns the model itself: its carry is its only memory."""
        del num_tokens
        return self

    @nn.nowrap
    def sample_masks(
        self, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Window | Labelled
    ) -> dropout.Masks:
        """Draws all masks of one window, or of documents.

        Args:
          key: of this window; the same on every device.
          sequence_ids: index of each sequence in the global batch. Masks of
            activations depend on it; those of the embedding and of weights do not.
          batch: only its number of steps is read.
        """
        keys = jax.random.split(key, 7)
        key_embedding, key_input, key_hidden, key_output, key_weights, key_state, key_head = keys

        num_steps, is_locked = len(batch.inputs), self.dropout_kind == "locked"
        after_keys = (*jax.random.split(key_hidden, self.num_layers - 1), key_output)
        rates = stack_rates(self, self.num_layers, last=self.output_dropout_rate)
        return dropout.Masks(
            embedding=dropout.sample_embedding(
                key_embedding, self.vocab_size, self.embed_dropout_rate
            ),
            input=dropout.sample_activations(
                *(key_input, sequence_ids, num_steps, self.embed_dim),
                *(self.input_dropout_rate, is_locked),
            ),
            layers=sample_stack(
                StackKeys(after_keys, key_state, key_weights),
                rates,
                self.cells,
                self.layer_dims,
                sequence_ids,
                num_steps,
            ),
            head=self.head.sample_masks(key_head, sequence_ids, self.embed_dim),
        )

    @nn.nowrap
    def score(
        self, params: Params, batch: Window, carry: Carry, masks: dropout.Masks | None = None
    ) -> Score:
        """Scores a window, without holding all of its logits in memory."""
        return scoring.score(
            self,
            params,
            batch,
            masks,
            lambda b: b.features(batch.inputs, carry, masks, batch.length),
        )

    @nn.nowrap
    def log_probs(
        self, params: Params, inputs: Int[Array, "T B"], carry: Carry
    ) -> tuple[Float[Array, "T B V"], Carry]:
        """Returns the log-probability of every token after each input, in nats, and the carry."""
        return scoring.log_probs(self, params, lambda bound: bound.features(inputs, carry))

    def features(
        self,
        inputs: Int[Array, "T B"],
        carry: Carry,
        masks: dropout.Masks | None = None,
        length: Int[Array, ""] | int | None = None,
    ) -> tuple[Features, Carry]:
        """Returns the features and the carry after `length` steps.

        Args:
          inputs: token ids.
          carry: from `initial_carry` or the previous window.
          masks: from `sample_masks`; None for evaluation.
          length: number of real steps; None for all T.
        """
        if masks is None:
            masks = dropout.no_masks(self.num_layers)
        xs = scoring.look_up(self, inputs, masks.embedding)
        if self.dtype is not None:
            xs = xs.astype(self.dtype)
        return unroll_stack(self.cells, self.layers, carry, xs, masks, length, self.sum_outputs)
