"""Names and shapes of a Transformer-XL in PyTorch: of its authors' code, and of the library port.

The authors' is MemTransformerLM (attn_type 0), the port's TransfoXLLMHeadModel. They differ in
three things: the port puts "transformer." before most names, stores the biases u and v with each
layer, even where all share them, and numbers the head's columns of clusters as we do. The authors'
PyTorch code numbers them from the end: the last row is that of the first cluster after the head.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from awd_jax.errors import InputError
from awd_jax.interchange.params import FlatParams
from awd_jax.interchange.torch_layout import FromTorch, Layout, our_names

_WRAPPERS = r"(?:module\.|_orig_mod\.|transformer\.)*"
_LAYER = r"layers\.(\d+)\."
_ATTENTION, _FEEDFORWARD = _LAYER + r"dec_attn\.", _LAYER + r"pos_ff\."
_MEANINGS = {
    r"word_emb\.emb_layers\.(\d{1,4})\.weight": r"embedding.rows.\1",
    r"word_emb\.emb_projs\.(\d{1,4})": r"embedding.projections.\1",
    r"crit\.out_layers\.(\d{1,4})\.weight": r"tied.rows.\1",
    r"crit\.out_projs\.(\d{1,4})": r"tied.projections.\1",
    r"crit\.out_layers\.(\d{1,4})\.bias": r"softmax.bias.\1",
    r"crit\.cluster_weight": "softmax.clusters",
    r"crit\.cluster_bias": "softmax.cluster_bias",
    r"r_w_bias": "biases.u",
    r"r_r_bias": "biases.v",
    _ATTENTION + "r_w_bias": r"biases_\1.u",
    _ATTENTION + "r_r_bias": r"biases_\1.v",
    _ATTENTION + r"r_net\.weight": r"relative_\1.w_r",
    _ATTENTION + r"qkv_net\.weight": r"layer_\1.w_qkv",
    _ATTENTION + r"o_net\.weight": r"layer_\1.w_o",
    _ATTENTION + r"layer_norm\.weight": r"layer_\1.attention_norm.scale",
    _ATTENTION + r"layer_norm\.bias": r"layer_\1.attention_norm.bias",
    _FEEDFORWARD + r"CoreNet\.0\.weight": r"layer_\1.w_1",
    _FEEDFORWARD + r"CoreNet\.0\.bias": r"layer_\1.b_1",
    _FEEDFORWARD + r"CoreNet\.3\.weight": r"layer_\1.w_2",
    _FEEDFORWARD + r"CoreNet\.3\.bias": r"layer_\1.b_2",
    _FEEDFORWARD + r"layer_norm\.weight": r"layer_\1.feedforward_norm.scale",
    _FEEDFORWARD + r"layer_norm\.bias": r"layer_\1.feedforward_norm.bias",
    r"pos_emb\.inv_freq": "constant",  # the frequencies of the sinusoids
}
_LAYOUT = Layout(
    _WRAPPERS,
    _MEANINGS,
    "a Transformer-XL language model",
    "give the state_dict of the authors' MemTransformerLM (attn_type 0, no sampled softmax) or of "
    "TransfoXLLMHeadModel",
)
# All other matrices are factors of a product, which torch has transposed.
_NO_FACTORS = r"embedding\.rows\..*|softmax\.clusters|biases.*"


def is_transformer(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a state_dict is one for `from_transformer`, by its names."""
    return any("dec_attn." in name for name in arrays)


def from_transformer(
    place: str, arrays: Mapping[str, np.ndarray], cutoffs: Sequence[int]
) -> FromTorch:
    """Converts a state_dict of either layout to our parameters.

    Args:
      place: where the arrays come from, for messages.
      arrays: the state_dict.
      cutoffs: of the model; where all clusters are equally wide (div_val 1), they share one array,
        and no name or shape in the file tells where to cut it.

    Raises:
      InputError: a name does not belong to such a model, a part of the softmax is missing, or is
        not tied to the embedding.
    """
    names = our_names(place, arrays, _LAYOUT)
    names.pop("constant", None)
    _drop_copies(place, arrays, names)
    num_parts = _count_parts(place, names)
    params: FlatParams = {}
    for ours, name in names.items():
        array = np.atleast_1d(arrays[name])
        params[ours] = array if re.fullmatch(_NO_FACTORS, ours) else array.T

    def replace(ours: str, parts: Mapping[str, np.ndarray]) -> None:
        del params[ours]
        params.update(parts)
        names.update(dict.fromkeys(parts, names.pop(ours)))

    for ours in [ours for ours in params if ours.endswith(".w_qkv")]:
        # Arrays of a wrong shape are left to whoever knows the right one.
        q_k_v = np.array_split(params[ours], 3, axis=-1)
        layer = ours.removesuffix("w_qkv")
        replace(ours, {f"{layer}w_{n}": part for n, part in zip("qkv", q_k_v, strict=True)})
    biases = [params.pop(f"softmax.bias.{k}").ravel() for k in range(num_parts)]
    params["softmax.bias"] = np.concatenate(biases)
    names["softmax.bias"] = names["softmax.bias.0"]
    if num_parts == 1 and cutoffs and "softmax.clusters" in params:
        rows = np.split(params["embedding.rows.0"], cutoffs)
        replace("embedding.rows.0", {f"embedding.rows.{k}": part for k, part in enumerate(rows)})
    elif num_parts == 1:
        replace("embedding.rows.0", {"embedding": params["embedding.rows.0"]})
    if not _is_port(arrays):
        for ours in {"softmax.clusters", "softmax.cluster_bias"} & params.keys():
            params[ours] = params[ours][::-1]
    return FromTorch({n: np.ascontiguousarray(array) for n, array in params.items()}, names)


def _drop_copies(place: str, arrays: Mapping[str, np.ndarray], names: dict[str, str]) -> None:
    """Drops what is stored a second time, which safetensors of the port leave out.

    Only the first projection may differ from the embedding's: the softmax then has one of its own.
    """
    for ours in list(names):
        original = re.sub(r"^tied\b", "embedding", ours)
        if "biases.u" in names:
            original = re.sub(r"^biases_\d+", "biases", original)
        if original == ours:
            continue
        copy = names.pop(ours)
        if original not in names or np.array_equal(arrays[copy], arrays[names[original]]):
            continue
        if ours != "tied.projections.0":
            raise InputError(
                f"{place}: {copy}",
                f"must equal {names[original]}",
                "give a model whose softmax is tied to its embedding, and all projections but the "
                "first one"
                if ours.startswith("tied.")
                else "give a model whose layers share these biases, or each have their own",
            )
        names["softmax.projection"] = copy


def _count_parts(place: str, names: Mapping[str, str]) -> int:
    """Returns how many arrays hold the embedding, for each of which the softmax has a bias."""
    matches = (re.fullmatch(r"(?:embedding\.rows|softmax\.bias)\.(\d+)", name) for name in names)
    found = [int(match[1]) for match in matches if match]
    for k in range(1 + max(found, default=0)):
        for ours, name in (
            (f"embedding.rows.{k}", f"word_emb.emb_layers.{k}.weight"),
            (f"softmax.bias.{k}", f"crit.out_layers.{k}.bias"),
        ):
            if ours not in names:
                fix = "give the whole language model, not a part of it"
                raise InputError(f"{place}: {name}", "is missing", fix)
    return 1 + max(found)


def _is_port(arrays: Mapping[str, np.ndarray]) -> bool:
    return any(re.search(r"\btransformer\.|dec_attn\.r_w_bias", name) for name in arrays)
