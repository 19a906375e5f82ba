"""A mixture of softmaxes (Yang, Dai, Salakhutdinov and Cohen 2018, arXiv 1711.03953).

One softmax of logits of rank E cannot express every distribution over V tokens; a mixture of K can:

    p = sum over k of prior_k softmax(latent_k @ table^T + bias)
    prior = softmax(h @ w_prior),  latent_k = tanh(h @ w_latent_k + b_latent_k)

The sum is taken over log-probabilities, so it cannot underflow and needs no epsilon.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from awd_jax.core.blocks import by_blocks
from awd_jax.core.draws import uniform
from awd_jax.core.losses import token_nll
from awd_jax.core.masks import apply, sample_locked
from awd_jax.core.product import affine, product
from awd_jax.core.softmax import Head


class MixtureParams(NamedTuple):
    """Parameters of a mixture, besides the embedding; the latents of all components in a row."""

    w_prior: Float[Array, "D K"]
    w_latent: Float[Array, "D KE"]
    b_latent: Float[Array, "KE"]
    bias: Float[Array, "V"]


def mixture(num_components: int, latent_dropout_rate: float = 0.0) -> Head:
    """Returns the head of K = `num_components` softmaxes that share the embedding.

    Its features may have another width than the embedding. The latents have locked dropout: one
    mask [K * E] for each sequence.

    No array holds all K * T * B * V logits: the loss is made by blocks of tokens, `log_probs` one
    component after another.
    """

    def init(
        key: Key[Array, ""], vocab_size: int, feature_dim: int, embed_dim: int
    ) -> MixtureParams:
        width = num_components * embed_dim
        shapes = ((feature_dim, num_components), (feature_dim, width), (width,))
        w_prior, w_latent, b_latent = (
            uniform(k, shape, feature_dim)
            for k, shape in zip(jax.random.split(key, 3), shapes, strict=True)
        )
        return MixtureParams(w_prior, w_latent, b_latent, jnp.zeros(vocab_size))

    def sample_masks(
        key: Key[Array, ""], sequence_ids: Int[Array, "B"], embed_dim: int
    ) -> Float[Array, "1 B KE"] | None:
        return sample_locked(key, sequence_ids, num_components * embed_dim, latent_dropout_rate)

    def block_nll(
        own: MixtureParams,
        table: Float[Array, "V E"],
        hs: Float[Array, "N D"],
        targets: Int[Array, "N"],
        mask: Float[Array, "1 B KE"] | None,
    ) -> Float[Array, "N"]:
        latents = _latents(own, hs)
        if mask is not None:  # a block has whole steps of B tokens
            steps = latents.reshape(-1, *mask.shape[1:])
            latents = apply(mask, steps).reshape(latents.shape)
        each = latents.astype(hs.dtype).reshape(-1, table.shape[1])
        nll = token_nll(affine(each, table.T, own.bias), jnp.repeat(targets, num_components))
        return -jax.nn.logsumexp(_log_priors(own, hs) - nll.reshape(-1, num_components), axis=-1)

    def num_logits(table: Float[Array, "V E"]) -> int:
        return num_components * len(table)

    return Head(init, sample_masks, _log_probs, by_blocks(block_nll, num_logits))


def _log_priors(own: MixtureParams, hs: Float[Array, "*N D"]) -> Float[Array, "*N K"]:
    return jax.nn.log_softmax(product(hs, own.w_prior))


def _latents(own: MixtureParams, hs: Float[Array, "*N D"]) -> Float[Array, "*N KE"]:
    return jnp.tanh(affine(hs, own.w_latent, own.b_latent))


def _log_probs(
    own: MixtureParams, table: Float[Array, "V E"], hs: Float[Array, "*N D"]
) -> Float[Array, "*N V"]:
    latents = _latents(own, hs).astype(hs.dtype)
    latents = latents.reshape(*hs.shape[:-1], -1, table.shape[1])
    return log_mixture(_log_priors(own, hs), latents, table, own.bias)


def log_mixture(
    log_priors: Float[Array, "*N K"],
    latents: Float[Array, "*N K E"],
    table: Float[Array, "V E"],
    bias: Float[Array, "V"],
) -> Float[Array, "*N V"]:
    """Returns log sum_k exp(log_prior_k) softmax(latent_k @ table^T + bias), in nats."""

    def add(total: Array, component: tuple[Array, Array]) -> tuple[Array, None]:
        log_prior, latent = component
        log_probs = jax.nn.log_softmax(affine(latent, table.T, bias))
        weighted = log_probs + jnp.broadcast_to(log_prior[..., None], log_probs.shape)
        return jnp.logaddexp(total, weighted), None

    nothing = jnp.full((*latents.shape[:-2], len(table)), -jnp.inf, bias.dtype)
    components = jnp.moveaxis(log_priors, -1, 0), jnp.moveaxis(latents, -2, 0)
    return jax.lax.scan(add, nothing, components)[0]
