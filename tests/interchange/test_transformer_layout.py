"""Names and shapes of Transformer-XLs in both layouts; tests/models has what they compute."""

import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.interchange.params import check_params
from awd_jax.interchange.transformer_layout import from_transformer, is_transformer
from tests.interchange.golden import TRANSFORMERS, as_authors, load_golden, load_transformer

D, F, HEADS, V = 16, 24, (2, 6), 40
NH = HEADS[0] * HEADS[1]
LAYER = {
    **{f"w_{name}": (D, NH) for name in "qkv"},
    **{"w_o": (NH, D), "w_1": (D, F), "b_1": (F,), "w_2": (F, D), "b_2": (D,)},
    **{
        f"{norm}_norm.{n}": (D,) for norm in ("attention", "feedforward") for n in ("scale", "bias")
    },
}
LAYERS = {f"layer_{i}.{name}": shape for i in (0, 1) for name, shape in LAYER.items()}
LAYERS |= {f"relative_{i}.w_r": (D, NH) for i in (0, 1)} | {"softmax.bias": (V,)}
CLUSTERS = {"softmax.clusters": (2, D), "softmax.cluster_bias": (2,)}
SHARED = {"biases.u": HEADS, "biases.v": HEADS}
OWN = {f"biases_{i}.{name}": HEADS for i in (0, 1) for name in "uv"}


def table(*dims):
    rows = {f"embedding.rows.{k}": ((10, 10, 20)[k], d) for k, d in enumerate(dims)}
    if len(set(dims)) == 1:
        return rows
    return rows | {f"embedding.projections.{k}": (d, D) for k, d in enumerate(dims)}


SHAPES = {
    "div_val_1": LAYERS | CLUSTERS | OWN | table(16, 16, 16),
    "div_val_2": LAYERS | CLUSTERS | OWN | table(16, 8, 4) | {"softmax.projection": (16, D)},
    "div_val_4": LAYERS | CLUSTERS | SHARED | table(16, 4, 1) | {"softmax.projection": (16, D)},
    "same_length": LAYERS | CLUSTERS | SHARED | table(16, 8, 4),  # its projections are all tied
}


def read(state, cutoffs=(10, 20)):
    return from_transformer("here", state, cutoffs)


def same(read_1, read_2):
    assert read_1.params.keys() == read_2.params.keys()
    for name, array in read_1.params.items():
        np.testing.assert_array_equal(array, read_2.params[name], err_msg=name)
    return True


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes(name):
    params, names = read(load_transformer(name).state)
    assert {n: a.shape for n, a in params.items()} == SHAPES[name]
    assert names.keys() >= params.keys()
    assert all(a.flags.c_contiguous for a in params.values())


def test_one_softmax_has_one_embedding():
    state = load_transformer("one_softmax").state
    params, _ = read(state, ())
    embedding = state["transformer.word_emb.emb_layers.0.weight"]
    np.testing.assert_array_equal(params["embedding"], embedding)
    assert {n for n in params if n.startswith(("softmax", "embedding"))} == {
        "embedding",
        "softmax.bias",
    }
    assert params["layer_0.w_q"].shape == (16, 18)


def test_values():
    state = load_transformer("div_val_2").state
    params, names = read(state)
    qkv = state["transformer.layers.1.dec_attn.qkv_net.weight"]
    for kind, rows in {"q": qkv[:12], "k": qkv[12:24], "v": qkv[24:]}.items():
        np.testing.assert_array_equal(params[f"layer_1.w_{kind}"], rows.T)
        assert names[f"layer_1.w_{kind}"] == "transformer.layers.1.dec_attn.qkv_net.weight"
    for ours, theirs in {
        "layer_0.w_o": "transformer.layers.0.dec_attn.o_net.weight",
        "layer_0.w_1": "transformer.layers.0.pos_ff.CoreNet.0.weight",
        "layer_0.w_2": "transformer.layers.0.pos_ff.CoreNet.3.weight",
        "layer_0.b_1": "transformer.layers.0.pos_ff.CoreNet.0.bias",
        "layer_0.b_2": "transformer.layers.0.pos_ff.CoreNet.3.bias",
        "layer_0.attention_norm.scale": "transformer.layers.0.dec_attn.layer_norm.weight",
        "layer_0.attention_norm.bias": "transformer.layers.0.dec_attn.layer_norm.bias",
        "layer_0.feedforward_norm.scale": "transformer.layers.0.pos_ff.layer_norm.weight",
        "layer_0.feedforward_norm.bias": "transformer.layers.0.pos_ff.layer_norm.bias",
        "relative_1.w_r": "transformer.layers.1.dec_attn.r_net.weight",
        "softmax.projection": "crit.out_projs.0",
        "embedding.projections.2": "transformer.word_emb.emb_projs.2",
    }.items():
        np.testing.assert_array_equal(params[ours], state[theirs].T)
        assert names[ours] == theirs
    for ours, theirs in {
        "biases_1.u": "transformer.layers.1.dec_attn.r_w_bias",
        "biases_1.v": "transformer.layers.1.dec_attn.r_r_bias",
        "embedding.rows.1": "transformer.word_emb.emb_layers.1.weight",
        "softmax.clusters": "crit.cluster_weight",
        "softmax.cluster_bias": "crit.cluster_bias",
    }.items():
        np.testing.assert_array_equal(params[ours], state[theirs])
        assert names[ours] == theirs
    biases = [state[f"crit.out_layers.{k}.bias"] for k in range(3)]
    np.testing.assert_array_equal(params["softmax.bias"], np.concatenate(biases))


def test_equally_wide_clusters_are_cut_where_the_config_says():
    state = load_transformer("div_val_1").state
    params, names = read(state, (3, 9))
    rows = [params[f"embedding.rows.{k}"] for k in range(3)]
    assert [len(r) for r in rows] == [3, 6, 31]
    theirs = "transformer.word_emb.emb_layers.0.weight"
    np.testing.assert_array_equal(np.concatenate(rows), state[theirs])
    assert names["embedding.rows.2"] == theirs


@pytest.mark.parametrize("name", ["div_val_4", "same_length"])
def test_the_authors_number_the_columns_of_clusters_from_the_end(name):
    """Their PyTorch code scores cluster k with column -k; TensorFlow's and the port do not."""
    state = load_transformer(name).state
    authors = as_authors(state)
    np.testing.assert_array_equal(authors["crit.cluster_bias"], state["crit.cluster_bias"][::-1])
    assert same(read(authors), read(state))


def test_a_port_without_its_prefix_is_no_model_of_the_authors():
    state = load_transformer("div_val_4").state
    bare = {name.removeprefix("transformer."): array for name, array in state.items()}
    assert same(read(bare), read(state))


def test_what_other_wrappers_put_before_each_name_is_dropped():
    port = load_transformer("div_val_4").state
    for state in (port, as_authors(port)):
        wrapped = {f"module._orig_mod.{name}": array for name, array in state.items()}
        assert same(read(wrapped), read(state))


def test_copies_may_be_left_out():
    """As the port's safetensors do, which hold each tensor once."""
    for name in ("div_val_2", "same_length"):
        state = load_transformer(name).state
        first = {"div_val_2": 1, "same_length": 0}[name]  # of the tied projections
        copies = [f"crit.out_layers.{k}.weight" for k in range(3)]
        copies += [f"crit.out_projs.{k}" for k in range(first, 3)]
        if name == "same_length":
            copies += [n for n in state if n.endswith(("dec_attn.r_w_bias", "dec_attn.r_r_bias"))]
        kept = {n: a for n, a in state.items() if n not in copies}
        assert len(kept) == len(state) - len(copies)
        assert same(read(kept), read(state))


def test_a_layout_is_known_by_its_names():
    for name in TRANSFORMERS:
        assert is_transformer(load_transformer(name).state)
        assert is_transformer(as_authors(load_transformer(name).state))
    assert not is_transformer(load_golden("awd_lstm_lm").state)
    assert not is_transformer(read(load_transformer("div_val_4").state).params)


L0 = "transformer.layers.0."
EMBEDDING = "transformer.word_emb.emb_layers.1.weight"
BROKEN = {
    "absolute positions": (
        {L0 + "dec_attn.q_net.weight": np.zeros((12, 16))},
        "q_net.weight: is n",
    ),
    "learned positions": (
        {"r_emb": np.zeros((2, 8, 2, 6))},
        "r_emb: is not part of a Transf.*give",
    ),
    "sampled softmax": ({"out_layer.weight": np.zeros((40, 16))}, "out_layer.weight: is not part"),
    "an embedding twice": ({"word_emb.emb_layers.1.weight": np.zeros((10, 4))}, "is there twice"),
    "an untied embedding": (
        {"crit.out_layers.1.weight": np.zeros((10, 4))},
        f"crit.out_layers.1.weight: must equal {EMBEDDING}; give .*tied",
    ),
    "an untied projection": (
        {"crit.out_projs.2": np.zeros((16, 1))},
        "crit.out_projs.2: must equal transformer.word_emb.emb_projs.2; give .*but the first",
    ),
    "biases that are not shared": (
        {L0 + "dec_attn.r_w_bias": np.zeros((2, 6))},
        L0 + "dec_attn.r_w_bias: must equal transformer.r_w_bias; give .*share",
    ),
    "no softmax": ({"crit.out_layers.0.bias": None}, "crit.out_layers.0.bias: is missing; .*whole"),
    "a bias missing": ({"crit.out_layers.2.bias": None}, "crit.out_layers.2.bias: is missing"),
    "rows missing": ({EMBEDDING: None}, "word_emb.emb_layers.1.weight: is missing"),
    "one cluster more": (
        {"crit.out_layers.3.bias": np.zeros(3)},
        "word_emb.emb_layers.3.weight: is missing",
    ),
    "a cluster far away": ({"crit.out_layers.9999.bias": np.zeros(3)}, "3.weight: is missing"),
    "a projection missing": (
        {"transformer.word_emb.emb_projs.1": None},
        "embedding.projections.1: is missing",
    ),
    "a layer missing": ({L0 + "dec_attn.r_net.weight": None}, "relative_0.w_r: is missing"),
    "no biases": (
        {n: None for n in load_transformer("div_val_4").state if n.endswith("r_r_bias")},
        "biases.v: is missing",
    ),
    "no products": ({L0 + "dec_attn.qkv_net.weight": None}, "layer_0.w_q: is missing"),
    "other heads": (
        {L0 + "dec_attn.qkv_net.weight": np.zeros((25, 16))},
        r"qkv_net.weight \(here layer_0.w_q\) has shape \[16, 9\]: must be \[16, 12\]",
    ),
    "a scalar": ({L0 + "dec_attn.qkv_net.weight": np.zeros(())}, r"\[1\]: must be \[16, 12\]"),
    "scalar clusters": ({"crit.cluster_weight": np.zeros(())}, r"\[1\]: must be \[2, 16\]"),
    "clusters of another model": ({"crit.cluster_bias": np.zeros(3)}, r"\[3\]: must be \[2\]"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_another_model_is_refused_in_one_line(what):
    changes, told = BROKEN[what]
    state = load_transformer("div_val_4").state
    expected = read(state).params
    broken = {n: a for n, a in (state | changes).items() if a is not None}
    with pytest.raises(InputError, match=told) as error:
        params, names = read(broken)
        check_params("here", params, expected, names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cutoffs", [(), (10,), (10, 20, 30), (50, 60)])
def test_other_clusters_than_the_files_are_refused(cutoffs):
    state = load_transformer("div_val_1").state
    expected = read(state).params
    with pytest.raises(InputError, match="here: "):
        params, names = read(state, cutoffs)
        check_params("here", params, expected, names)


def test_a_projection_of_the_whole_embedding_is_refused():
    """With d_embed unlike d_model, which the port and the authors' code allow."""
    state = load_transformer("div_val_1").state
    expected = read(state).params
    changes = {
        "transformer.word_emb.emb_projs.0": np.zeros((16, 8)),
        **{f"crit.out_projs.{k}": np.zeros((16, 8)) for k in range(3)},
    }
    with pytest.raises(InputError, match=r"emb_projs.0 .*is not a parameter of this model"):
        params, names = read(state | changes)
        check_params("here", params, expected, names)
