"""A stack of cells that reads vectors, and answers with bits, such as the neural Turing machine."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Bits
from awd_jax.core import masks as dropout
from awd_jax.core.cells import Backend, make_cells
from awd_jax.core.draws import uniform
from awd_jax.core.product import affine
from awd_jax.core.recurrence import Cell
from awd_jax.core.unroll import Features, StackKeys, sample_stack, stack_rates, unroll_stack
from awd_jax.models import scoring
from awd_jax.models.contract import Carry, Params, Score

LIMIT = 20.0  # of the logits: with it, training is stable (Collier and Beel 2018)


class Output(NamedTuple):
    """The layer that makes bits of features."""

    w: Float[Array, "H K"]
    b: Float[Array, "K"]


def init_output(key: Key[Array, ""], hidden_dim: int, output_dim: int) -> Output:
    """Draws the weights as torch does; the biases are 0."""
    return Output(uniform(key, (hidden_dim, output_dim), hidden_dim), jnp.zeros(output_dim))


class BitModel(nn.Module):
    """A stack of recurrent layers, and the probability of each bit from the last one's outputs."""

    input_dim: int
    output_dim: int
    hidden_dim: int
    num_layers: int = 1
    cell: str = "lstm"  # a key of CELLS
    backend: Backend = "auto"  # how a layer is unrolled over time
    # Options of some cells: see there. The defaults mean "not used".
    forget_gate_bias: float = 0.0
    cap_input_gate: bool = False
    mogrifier_rounds: int = 0
    mogrifier_rank: int = 0
    filter_width: Literal[1, 2] = 1
    memory_rows: int = 0
    memory_dim: int = 0
    memory_heads: int = 1
    max_shift: int = 1
    dropout_kind: Literal["locked", "elementwise"] = "locked"  # one mask per batch, or per step
    hidden_dropout_rate: float = 0.0
    output_dropout_rate: float = 0.0
    state_dropout_rate: float = 0.0
    weight_drop_rate: float = 0.0
    input_weight_drop_rate: float = 0.0
    dtype: DTypeLike | None = None  # of activations and products; None: that of the parameters

    @property
    def layer_dims(self) -> tuple[tuple[int, int], ...]:
        """(D, H) of each layer."""
        above = (self.hidden_dim, self.hidden_dim)
        return ((self.input_dim, self.hidden_dim), *(above,) * (self.num_layers - 1))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cell of each layer."""
        return make_cells(self, self.num_layers)

    def setup(self) -> None:  # noqa: D102
        self.layers = [
            scoring.declare(self, f"{self.cell}_{i}", cell.init, d, h)
            for i, (cell, (d, h)) in enumerate(zip(self.cells, self.layer_dims, strict=True))
        ]
        self.own = scoring.declare(self, "output", init_output, self.hidden_dim, self.output_dim)

    @nn.nowrap
    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters."""
        return scoring.init_params(self, key)

    @nn.nowrap
    def initial_carry(self, batch_size: int) -> Carry:
        """Returns (): nothing goes from batch to batch."""
        del batch_size
        return ()

    @nn.nowrap
    def for_evaluation(self) -> "BitModel":
        """Returns the model itself: without masks, it is the same in evaluation."""
        return self

    @nn.nowrap
    def sample_masks(
        self, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Bits
    ) -> dropout.Masks:
        """Draws all masks of a batch; reads only the shapes of the batch."""
        key_after, key_state, key_weights = jax.random.split(key, 3)
        layers = sample_stack(
            StackKeys([*jax.random.split(key_after, self.num_layers)], key_state, key_weights),
            stack_rates(self, self.num_layers, last=self.output_dropout_rate),
            *(self.cells, self.layer_dims, sequence_ids, len(batch.inputs)),
        )
        return dropout.Masks(embedding=None, input=None, layers=layers)

    @nn.nowrap
    def score(
        self, params: Params, batch: Bits, carry: Carry, masks: dropout.Masks | None = None
    ) -> Score:
        """Scores the bits that are asked for: a `token` of the score is the K bits of a step."""
        features, logits = self.run(params, batch.inputs, masks)
        # -log s(x) of a bit 1, -log (1 - s(x)) of a bit 0
        nll = jnp.sum(jax.nn.softplus(logits) - batch.targets * logits, axis=-1)
        return Score(jnp.sum(batch.weights * nll), jax.lax.stop_gradient(nll), features, carry)

    @nn.nowrap
    def run(
        self, params: Params, inputs: Float[Array, "T B D"], masks: dropout.Masks | None = None
    ) -> tuple[Features, Float[Array, "T B K"]]:
        """Returns the features, and the log-odds of each bit at each step."""
        result: Any = self.apply({"params": params}, inputs, masks, method=BitModel.logits)
        return result

    def logits(
        self, inputs: Float[Array, "T B D"], masks: dropout.Masks | None
    ) -> tuple[Features, Float[Array, "T B K"]]:
        """Does what `run` does, bound to parameters."""
        masks = dropout.no_masks(self.num_layers) if masks is None else masks
        xs = inputs if self.dtype is None else inputs.astype(self.dtype)
        start = tuple(
            cell.initial_state(xs.shape[1], d, h, self.dtype)
            for cell, (d, h) in zip(self.cells, self.layer_dims, strict=True)
        )
        features, _ = unroll_stack(self.cells, self.layers, start, xs, masks)
        logits = affine(features.dropped_hs, self.own.w, self.own.b)
        return features, jnp.clip(logits, -LIMIT, LIMIT)
