"""The adaptive softmax and the adaptive input: rare tokens cost less than frequent ones.

Tokens are numbered by falling frequency, and `cutoffs` cut their ids into clusters. The head, a
softmax over the first cluster and one column for each other cluster, scores every token; only
those whose target lies in a later cluster are scored by its softmax as well:

    p(w) = p_head(w)                      if w is in the first cluster
    p(w) = p_head(cluster k) p_k(w)       if w is in cluster k

Grave et al. 2017 (arXiv 1609.04309) have the softmax, Baevski and Auli 2019 (arXiv 1809.10853) the
input, and Dai et al. 2019 (arXiv 1901.02860) tie both.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from awd_jax.core import softmax
from awd_jax.core.blocks import by_blocks, by_members
from awd_jax.core.losses import token_nll
from awd_jax.core.product import affine, product
from awd_jax.core.softmax import Head, Own, Table


class AdaptiveParams(NamedTuple):
    """Parameters of the adaptive softmax, besides the embedding."""

    clusters: Float[Array, "K E"]  # the head's columns of all clusters but the first
    cluster_bias: Float[Array, "K"]
    bias: Float[Array, "V"]


class ProjectedParams(NamedTuple):
    """The same, where the first projection of the softmax is not that of the embedding."""

    clusters: Float[Array, "K E"]
    cluster_bias: Float[Array, "K"]
    bias: Float[Array, "V"]
    projection: Float[Array, "E E"]


class AdaptiveTable(NamedTuple):
    """An embedding whose clusters are arrays of their own: a loop reads one without a copy."""

    rows: tuple[Float[Array, "N E"], ...]


class ProjectedTable(NamedTuple):
    """An embedding whose cluster k has vectors of E / div_val^k features, each mapped to E."""

    rows: tuple[Float[Array, "N F"], ...]
    projections: tuple[Float[Array, "F E"], ...]


class Cluster(NamedTuple):
    """A softmax over N tokens: logits = (h @ projection^T) @ rows^T + bias."""

    rows: Float[Array, "N F"]
    bias: Float[Array, "N"]
    projection: Float[Array, "F E"] | None


def adaptive(
    cutoffs: tuple[int, ...], div_val: int = 1, untie_first_projection: bool = False
) -> Head:
    """Returns the adaptive softmax, tied to its input. Features are as wide as the embedding.

    A loss computes the logits of a cluster for the tokens in it only, whose number a loop on the
    device follows, and never holds more than a block of them; see `blocks`.

    Args:
      cutoffs: first id of each cluster but the first one, increasing and below V.
      div_val: cluster k has vectors of E / div_val^k features; 1 makes all as wide as the
        embedding, without projections.
      untie_first_projection: the softmax projects to the first cluster's vectors with a matrix of
        its own, as Dai et al. do on WikiText-103; for a div_val above 1.
    """

    def init(key: Key[Array, ""], vocab_size: int, feature_dim: int, embed_dim: int) -> Own:
        softmax.check_widths("adaptive", feature_dim, embed_dim)
        k = len(cutoffs)
        own = AdaptiveParams(jnp.zeros((k, embed_dim)), jnp.zeros(k), jnp.zeros(vocab_size))
        if not untie_first_projection:
            return own
        return ProjectedParams(*own, _init_projection(key, embed_dim, embed_dim))

    def init_table(key: Key[Array, ""], vocab_size: int, embed_dim: int) -> Table:
        sizes = [b - a for a, b in itertools.pairwise((0, *cutoffs, vocab_size))]
        dims = [embed_dim // div_val**k for k in range(len(sizes))]
        keys, projection_keys = jax.random.split(key, (2, len(sizes)))
        rows = tuple(map(softmax.init_embedding, keys, sizes, dims))
        if div_val == 1:
            return AdaptiveTable(rows)
        projections = tuple(
            _init_projection(k, dim, embed_dim)
            for k, dim in zip(projection_keys, dims, strict=True)
        )
        return ProjectedTable(rows, projections)

    return Head(init, softmax.no_masks, log_probs, sum_nll, init_table, look_up)


def _init_projection(key: Key[Array, ""], dim: int, embed_dim: int) -> Float[Array, "F E"]:
    """Draws so that vectors of any cluster have the same variance once they are mapped."""
    return jax.random.normal(key, (dim, embed_dim)) * dim**-0.5


def log_probs(own: Own, table: Table, hs: Float[Array, "*N E"]) -> Float[Array, "*N V"]:
    """Returns the log-probability of every token, in nats."""
    head, *tails = _clusters(own, table)
    of_head = jax.nn.log_softmax(_logits(head, hs))
    first_column = len(head.rows) - len(tails)
    parts = [of_head[..., :first_column]]
    for column, tail in enumerate(tails, first_column):
        inside = jax.nn.log_softmax(_logits(tail, hs))
        parts.append(inside + jnp.broadcast_to(of_head[..., column, None], inside.shape))
    return jnp.concatenate(parts, axis=-1)


def sum_nll(
    own: Own,
    table: Table,
    hs: Float[Array, "T B E"],
    targets: Int[Array, "T B"],
    weights: Float[Array, "T B"],
    masks: None = None,
) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
    """Returns the sum of weight * NLL, in nats, and the NLL of each token, a constant."""
    head, *tails = _clusters(own, table)
    first_ids = _first_ids(table)[1:]
    cluster = jnp.zeros_like(targets)
    for first_id in first_ids:
        cluster += (targets >= first_id).astype(targets.dtype)
    first_column = len(head.rows) - len(tails)
    columns = jnp.where(cluster == 0, targets, first_column + cluster - 1)
    total, nll = _sum_all((), head, hs, columns, weights, masks)
    for k, (tail, first_id) in enumerate(zip(tails, first_ids, strict=True), 1):
        tail_total, tail_nll = _sum_members(tail, hs, targets - first_id, weights, cluster == k)
        total, nll = total + tail_total, nll + tail_nll
    return total, nll


def look_up(table: Table, ids: Int[Array, "*N"]) -> Float[Array, "*N E"]:
    """Returns the vectors of tokens: of each token from every cluster, to choose from.

    So all shapes are fixed, at the price of a projection of all tokens for each cluster.
    """
    parts = []
    for k, (first_id, rows) in enumerate(zip(_first_ids(table), table.rows, strict=True)):
        inside = ids - first_id
        is_member = (inside >= 0) & (inside < len(rows))
        found = rows[jnp.where(is_member, inside, 0)]
        if isinstance(table, ProjectedTable):
            found = product(found, table.projections[k])
        parts.append(jnp.where(is_member[..., None], found, 0))
    return functools.reduce(jnp.add, parts)


def _first_ids(table: Table) -> list[int]:
    return list(itertools.accumulate(map(len, table.rows[:-1]), initial=0))


def _clusters(own: Own, table: Table) -> list[Cluster]:
    """The head, whose last columns are those of the other clusters, and these."""
    rows, biases = list(table.rows), jnp.split(own.bias, _first_ids(table)[1:])
    rows[0] = jnp.concatenate([rows[0], own.clusters])
    biases[0] = jnp.concatenate([biases[0], own.cluster_bias])
    projections: list[Array | None] = [None] * len(rows)
    if isinstance(table, ProjectedTable):
        projections = list(table.projections)
    if isinstance(own, ProjectedParams):
        projections[0] = own.projection
    return [Cluster(*parts) for parts in zip(rows, biases, projections, strict=True)]


def _logits(cluster: Cluster, hs: Float[Array, "*N E"]) -> Float[Array, "*N C"]:
    if cluster.projection is not None:
        hs = product(hs, cluster.projection.T).astype(hs.dtype)
    return affine(hs, cluster.rows.T, cluster.bias)


def _nll(cluster: Cluster, hs: Float[Array, "N E"], targets: Int[Array, "N"]) -> Float[Array, "N"]:
    return token_nll(_logits(cluster, hs), targets)


def _num_logits(cluster: Cluster) -> int:
    return len(cluster.rows)


_sum_all = by_blocks(lambda own, head, hs, targets, masks: _nll(head, hs, targets), _num_logits)
_sum_members = by_members(_nll, _num_logits)
