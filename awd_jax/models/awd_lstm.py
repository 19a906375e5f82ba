"""The AWD-LSTM language model of Merity, Keskar and Socher (2018)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from awd_jax.core import cells, softmax, unroll
from awd_jax.core import masks as dropout

Params = Any  # a tree of arrays, as flax makes it


class AWDLSTM(nn.Module):
    """Embedding, dropped LSTM stack, tied softmax.

    The first layer reads `embed_dim` features and the last one writes
    `embed_dim`, so that the softmax can be tied; layers between have
    `hidden_dim`. The rates are read by `sample_masks` only: the forward pass is
    a deterministic function of (params, masks, carry, inputs).
    """

    vocab_size: int
    embed_dim: int
    hidden_dim: int
    num_layers: int
    embed_dropout_rate: float = 0.0
    input_dropout_rate: float = 0.0
    hidden_dropout_rate: float = 0.0
    output_dropout_rate: float = 0.0
    weight_drop_rate: float = 0.0
    input_weight_drop_rate: float = 0.0
    lstm_backend: unroll.Backend = "auto"
    dtype: DTypeLike | None = None  # of activations and products; None: that of the parameters

    @property
    def layer_dims(self) -> tuple[tuple[int, int], ...]:
        """(D, H) of each layer."""
        inner = (self.hidden_dim,) * (self.num_layers - 1)
        return tuple(zip((self.embed_dim, *inner), (*inner, self.embed_dim), strict=True))

    def setup(self) -> None:  # noqa: D102
        self.embedding = self.param(
            "embedding",
            lambda key: jax.random.uniform(
                key, (self.vocab_size, self.embed_dim), minval=-0.1, maxval=0.1
            ),
        )
        self.layers = [self._lstm(i, d, h) for i, (d, h) in enumerate(self.layer_dims)]
        self.softmax_bias = self.param("softmax_bias", nn.initializers.zeros, (self.vocab_size,))

    def _lstm(self, index: int, input_dim: int, hidden_dim: int) -> cells.LSTMParams:
        # A dict in the tree of parameters, so that every flax tool finds its leaves by name.
        params = self.param(
            f"lstm_{index}", lambda key: cells.init_lstm(key, input_dim, hidden_dim)._asdict()
        )
        return cells.LSTMParams(**params)

    @nn.nowrap
    def initial_carry(self, batch_size: int) -> tuple[cells.LSTMState, ...]:
        """The state of every layer at the start of a text: zeros."""
        return tuple(cells.init_lstm_state(batch_size, h, self.dtype) for _, h in self.layer_dims)

    @nn.nowrap
    def sample_masks(self, key: Key[Array, ""], sequence_ids: Int[Array, "B"]) -> dropout.Masks:
        """Draws all masks of one window.

        Args:
          key: of this window; the same on every device.
          sequence_ids: index of each sequence in the global batch. Embedding and
            weight masks do not depend on it, locked masks do.
        """
        key_embedding, key_input, key_hidden, key_output, key_weight = jax.random.split(key, 5)
        return dropout.Masks(
            embedding=dropout.sample_embedding(
                key_embedding, self.vocab_size, self.embed_dropout_rate
            ),
            input=dropout.sample_locked(
                key_input, sequence_ids, self.embed_dim, self.input_dropout_rate
            ),
            hidden=tuple(
                dropout.sample_locked(k, sequence_ids, self.hidden_dim, self.hidden_dropout_rate)
                for k in jax.random.split(key_hidden, self.num_layers - 1)
            ),
            output=dropout.sample_locked(
                key_output, sequence_ids, self.embed_dim, self.output_dropout_rate
            ),
            weight=tuple(
                dropout.sample_weight_drop(
                    k, d, h, self.weight_drop_rate, self.input_weight_drop_rate
                )
                for k, (d, h) in zip(
                    jax.random.split(key_weight, self.num_layers), self.layer_dims, strict=True
                )
            ),
        )

    def features(
        self,
        inputs: Int[Array, "T B"],
        carry: tuple[cells.LSTMState, ...],
        masks: dropout.Masks | None = None,
        length: Int[Array, ""] | int | None = None,
    ) -> unroll.StackOutput:
        """Last layer's outputs before and after dropout, and the carry after `length` steps.

        Args:
          inputs: token ids.
          carry: from `initial_carry` or the window before.
          masks: from `sample_masks`; None for evaluation.
          length: how many of the T steps are real; None if all are.
        """
        if masks is None:
            masks = dropout.no_masks(self.num_layers)
        xs = self.embedding[inputs]
        if masks.embedding is not None:
            xs = masks.embedding[inputs] * xs  # only the rows looked up, not all V
        if self.dtype is not None:
            xs = xs.astype(self.dtype)
        return unroll.unroll_stack(self.layers, carry, xs, masks, length, self.lstm_backend)

    def logits(self, features: Float[Array, "*T B D"]) -> Float[Array, "*T B V"]:
        """Unnormalised log-probabilities of the next token, in nats."""
        return softmax.tied_logits(features, self.embedding, self.softmax_bias)

    def __call__(
        self,
        inputs: Int[Array, "T B"],
        carry: tuple[cells.LSTMState, ...],
        masks: dropout.Masks | None = None,
        length: Int[Array, ""] | int | None = None,
    ) -> tuple[Float[Array, "T B V"], unroll.StackOutput]:
        """Logits of every next token, and the `features` they came from."""
        output = self.features(inputs, carry, masks, length)
        return self.logits(output.dropped_hs), output

    @nn.nowrap
    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters: `init` without a batch to invent."""
        return self.init(key, jnp.zeros((1, 1), jnp.int32), self.initial_carry(1))["params"]

    @nn.nowrap
    def forward(
        self,
        params: Params,
        inputs: Int[Array, "T B"],
        carry: tuple[cells.LSTMState, ...],
        masks: dropout.Masks | None = None,
        length: Int[Array, ""] | int | None = None,
    ) -> tuple[Float[Array, "T B V"], unroll.StackOutput]:
        """`apply` on a tree of parameters."""
        result: Any = self.apply({"params": params}, inputs, carry, masks, length)
        return result

    @nn.nowrap
    def score(
        self,
        params: Params,
        inputs: Int[Array, "T B"],
        targets: Int[Array, "T B"],
        weights: Float[Array, "T B"],
        carry: tuple[cells.LSTMState, ...],
        masks: dropout.Masks | None = None,
        length: Int[Array, ""] | int | None = None,
    ) -> tuple[Float[Array, ""], unroll.StackOutput]:
        """The sum of weights * NLL in nats, and the `features` it came from.

        The same as from the logits of `forward`, without having all of them in memory.
        """
        output: Any = self.apply(
            {"params": params}, inputs, carry, masks, length, method="features"
        )
        nll = softmax.tied_nll(
            output.dropped_hs, params["embedding"], params["softmax_bias"], targets, weights
        )
        return nll, output
