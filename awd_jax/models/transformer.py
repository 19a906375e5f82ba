"""Transformer-XL (Dai et al. 2019, arXiv 1901.02860) and the plain Transformer language model."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Window
from awd_jax.core import masks as dropout
from awd_jax.core import transformer
from awd_jax.core.attention import Size, sinusoids, visible, visible_in_segment
from awd_jax.core.heads import HEADS
from awd_jax.core.parts import make_part
from awd_jax.core.recurrence import Length
from awd_jax.core.softmax import Head, Own, Table
from awd_jax.core.unroll import Features
from awd_jax.models import scoring
from awd_jax.models.contract import Carry, Params, Score
from awd_jax.models.transformer_masks import TransformerMasks, no_masks, sample_masks


class MemoryCarry(NamedTuple):
    """What a window leaves to the next one."""

    memory: tuple[Float[Array, "B M D"], ...]  # inputs of each layer, the latest last
    num_filled: Int[Array, "B"]  # slots of the memory that are filled, the last ones


class TransformerLM(nn.Module):
    """Embedding, a stack of attention layers, and a softmax that shares the embedding.

    With relative positions each layer attends to the window and to its own inputs at the
    `memory_length` tokens before, through which no gradient flows. With absolute positions the text
    falls into segments of `memory_length` tokens, or of a window if that is 0: the plain
    Transformer. Only `sample_masks` reads the dropout rates.
    """

    vocab_size: int
    embed_dim: int  # of every layer
    num_layers: int
    num_heads: int
    head_dim: int
    inner_dim: int  # between the two products of a layer
    positions: Literal["relative", "absolute"] = "relative"
    share_biases: bool = True  # u and v are the same in all layers
    norm_first: bool = False
    memory_length: int = 0  # M, in training
    clamp_length: int = 0  # larger distances count as this one, in training; 0: none does
    same_length: bool = False  # in training each token sees the M latest ones, and not more
    eval_memory_length: int = 0  # of `for_evaluation`, as the next
    eval_clamp_length: int = 0
    softmax: str = "tied"  # a key of HEADS
    # Options of some heads: see there. The defaults mean "not used".
    num_components: int = 0
    cutoffs: tuple[int, ...] = ()
    div_val: int = 1
    untie_first_projection: bool = False
    latent_dropout_rate: float = 0.0
    dropout_kind: Literal["locked", "elementwise"] = "locked"  # one mask per window, or per step
    embed_dropout_rate: float = 0.0
    input_dropout_rate: float = 0.0  # of embeddings, and of relative positions
    attention_dropout_rate: float = 0.0  # of the weights of attention
    attended_dropout_rate: float = 0.0  # of what attention puts out
    feedforward_dropout_rate: float = 0.0  # after each of the two products of a layer
    output_dropout_rate: float = 0.0
    weight_drop_rate: float = 0.0
    dtype: DTypeLike | None = None  # of activations and products; None: that of the parameters

    @property
    def feature_dim(self) -> int:
        """Width of the features that the softmax reads, D of `Features`."""
        return self.embed_dim

    @property
    def row_params(self) -> tuple[str, ...]:
        """Names of the parameters with one row per token."""
        return scoring.row_params(self.softmax)

    @property
    def head(self) -> Head:
        """How ids become vectors, and features probabilities."""
        head: Head = make_part(HEADS, self.softmax, self)
        return head

    @nn.nowrap
    def for_evaluation(self) -> "TransformerLM":
        """Returns the model with the memory and the largest distance of evaluation."""
        return self.remembering(self.eval_memory_length).clone(clamp_length=self.eval_clamp_length)

    @nn.nowrap
    def remembering(self, num_tokens: int) -> "TransformerLM":
        """Returns the model with a memory of `num_tokens`.

        Each token sees just as many, so a text has the same scores whatever its windows are.
        """
        return self.clone(memory_length=num_tokens, same_length=num_tokens > 0)

    def setup(self) -> None:  # noqa: D102
        def init_table(key: Key[Array, ""], *sizes: int) -> Table:
            return _draw_like(self.head.init_table, key, *sizes)

        def init_own(key: Key[Array, ""], *sizes: int) -> Own:
            return _draw_like(self.head.init, key, *sizes)

        width = self.num_heads * self.head_dim
        sizes = (self.embed_dim, width)
        each = range(self.num_layers)
        self.embedding = scoring.declare(
            self, "embedding", init_table, self.vocab_size, self.embed_dim
        )
        self.layers = [
            scoring.declare(self, f"layer_{i}", transformer.init_layer, *sizes, self.inner_dim)
            for i in each
        ]
        if self.positions == "relative":
            self.relative = [
                scoring.declare(self, f"relative_{i}", transformer.init_relative, *sizes)
                for i in each
            ]
            names = ["biases"] if self.share_biases else [f"biases_{i}" for i in each]
            biases = [
                scoring.declare(self, name, transformer.init_biases, self.num_heads, self.head_dim)
                for name in names
            ]
            self.biases = biases * self.num_layers if self.share_biases else biases
        self.own = scoring.declare(
            self, "softmax", init_own, self.vocab_size, self.embed_dim, self.embed_dim
        )

    @nn.nowrap
    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters: matrices from N(0, 0.02), projections of embeddings N(0, 0.01)."""
        return scoring.init_params(self, key)

    @nn.nowrap
    def initial_carry(self, batch_size: int) -> Carry:
        """Returns an empty memory."""
        shape = (batch_size, self.memory_length, self.embed_dim)
        memory = tuple(jnp.zeros(shape, self.dtype) for _ in range(self.num_layers))
        return MemoryCarry(memory, jnp.zeros(batch_size, jnp.int32))

    @nn.nowrap
    def sample_masks(
        self, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Window
    ) -> TransformerMasks:
        """Draws all masks of one window; only the number of steps of the batch is read."""
        return sample_masks(self, key, sequence_ids, len(batch.inputs))

    @nn.nowrap
    def score(
        self, params: Params, batch: Window, carry: Carry, masks: TransformerMasks | None = None
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
        carry: MemoryCarry,
        masks: TransformerMasks | None = None,
        length: Length | None = None,
    ) -> tuple[Features, MemoryCarry]:
        """Returns the features and the carry after `length` steps.

        Args:
          inputs: token ids.
          carry: from `initial_carry` or the previous window.
          masks: from `sample_masks`; None for evaluation.
          length: number of real steps, one for all sequences or one for each; None for all T.
        """
        if masks is None:
            masks = no_masks(self.num_layers)
        xs = scoring.look_up(self, inputs, masks.embedding) * self.embed_dim**0.5
        is_relative = self.positions == "relative"
        num_steps, m = xs.shape[0], self.memory_length
        dtype = xs.dtype if self.dtype is None else self.dtype
        if is_relative:
            is_visible = visible(carry.num_filled, num_steps, m, self.same_length)
        else:
            is_visible = visible_in_segment(carry.num_filled, num_steps, m)
            ids = carry.num_filled[None] + jnp.arange(num_steps)[:, None]  # [T, B]
            xs = xs + sinusoids((ids % m if m else ids).astype(xs.dtype), self.embed_dim)
        xs = dropout.apply(masks.input, xs.astype(dtype))
        distances = dropout.apply(masks.distances, self._distances(m + num_steps, dtype))
        # T may be symbolic.
        num_real = jnp.asarray(num_steps, jnp.int32) if length is None else length
        memory = []
        for i, (params, drawn) in enumerate(zip(self.layers, masks.layers, strict=True)):
            past = jax.lax.stop_gradient(carry.memory[i]).swapaxes(0, 1)
            seen = jnp.concatenate([past, xs])
            memory.append(transformer.remember(seen, num_real, m))
            relative = None
            if is_relative:
                weights = dropout.drop_weights(drawn.weights.relative, self.relative[i])
                relative = (weights, self.biases[i], distances)
            xs = transformer.layer(
                dropout.drop_weights(drawn.weights.layer, params),
                xs,
                seen,
                is_visible,
                self.num_heads,
                relative,
                self.norm_first,
                drawn,
            )
        num_filled = carry.num_filled + num_real
        after = jnp.minimum(num_filled, m) if is_relative or not m else num_filled % m
        return Features(xs, dropout.apply(masks.output, xs)), MemoryCarry(tuple(memory), after)

    def _distances(self, num_keys: Size, dtype: DTypeLike) -> Float[Array, "K D"]:
        """The sinusoids of the distances 0, 1, ..., K - 1, which `clamp_length` bounds."""
        distances = jnp.arange(num_keys)
        if self.clamp_length:
            distances = jnp.minimum(distances, self.clamp_length)
        return sinusoids(distances.astype(float), self.embed_dim).astype(dtype)


def _draw_like(init: Callable[..., Any], key: Key[Array, ""], *sizes: int) -> Any:
    """Draws the matrices of a head as those of a layer; vectors stay as `init` returns them."""

    def draw(path: Any, array: Array) -> Array:
        deviation = 0.01 if "projection" in jax.tree_util.keystr(path) else 0.02
        return deviation * jax.random.normal(next(keys), array.shape) if array.ndim > 1 else array

    arrays = init(key, *sizes)
    keys = iter(jax.random.split(key, len(jax.tree.leaves(arrays))))
    return jax.tree_util.tree_map_with_path(draw, arrays)
