"""The contract between models and the rest of the program: protocols, nothing to inherit."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int, Key

from awd_jax.batches import Labelled, Pair
from awd_jax.core.unroll import Features

Params = Any  # a tree of arrays, as flax makes it
Carry = Any  # state passed from batch to batch: a tree of leaves [B, ...]; () if there is none
Masks = Any  # all dropout masks of one batch


class Score(NamedTuple):
    """How well a model predicts the targets of a batch."""

    nll: Float[Array, ""]  # sum of weight * NLL, in nats
    token_nll: Float[Array, "T B"]  # of each target, in nats; has no gradient
    features: Features
    carry: Carry


@runtime_checkable
class Model(Protocol):
    """What training and evaluation need of a model."""

    def init_params(self, key: Key[Array, ""]) -> Params:
        """Draws the parameters."""

    def for_evaluation(self) -> "Model":
        """Returns the model as evaluation and all tasks after training use it."""

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns the carry before the first batch."""

    def sample_masks(self, key: Key[Array, ""], sequence_ids: Int[Array, "B"], batch: Any) -> Masks:
        """Draws all masks of a batch; reads only the shapes of the batch.

        Masks of weights depend on the key alone; those of activations also on the index of each
        sequence in the global batch, over all devices.
        """

    def score(self, params: Params, batch: Any, carry: Carry, masks: Masks = None) -> Score:
        """Scores a batch; without masks, there is no dropout."""


@runtime_checkable
class LanguageModel(Model, Protocol):
    """What the tasks after training need as well: next-token distributions."""

    vocab_size: int
    feature_dim: int  # D of `Features`
    row_params: tuple[str, ...]  # dotted names of the parameters with one row per token

    def log_probs(
        self, params: Params, inputs: Int[Array, "T B"], carry: Carry
    ) -> tuple[Float[Array, "T B V"], Carry]:
        """Returns the log-probability of every token after each input, in nats, and the carry."""

    def remembering(self, num_tokens: int) -> "LanguageModel":
        """Returns the same model with a memory of `num_tokens`, if its memory has a length."""


@runtime_checkable
class Translator(Model, Protocol):
    """What the tasks after training need of a model from sequence to sequence."""

    vocab_size: int  # of the targets
    source_vocab_size: int

    def read(
        self,
        params: Params,
        sources: Int[Array, "S B"],
        source_weights: Float[Array, "S B"],
    ) -> Carry:
        """Reads sources; returns the carry before the first token of their targets."""

    def log_probs(
        self, params: Params, inputs: Int[Array, "T B"], carry: Carry
    ) -> tuple[Float[Array, "T B V"], Carry]:
        """Returns the log-probability of every token after each input, in nats, and the carry."""

    def attended(self, carry: Carry) -> Float[Array, "B S"]:
        """Returns the attention that each source token has had so far: its sum over the steps."""

    def alignment(self, params: Params, batch: Pair) -> Float[Array, "T B S"]:
        """Returns the attention of each step of the targets to each source token."""


@runtime_checkable
class Classifier(Model, Protocol):
    """What the tasks after training need of a classifier."""

    num_classes: int

    def log_probs(self, params: Params, batch: Labelled) -> Float[Array, "B K"]:
        """Returns the log-probability of every class for each document, in nats."""
