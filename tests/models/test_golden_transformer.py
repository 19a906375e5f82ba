"""Transformer-XLs against PyTorch: experiments/make_golden_transformer_xl.py wrote the files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.interchange.params import check_params, flat_shapes, unflatten_params
from awd_jax.interchange.transformer_layout import from_transformer
from awd_jax.models.transformer import TransformerLM
from tests.interchange.golden import TRANSFORMERS, as_authors, load_transformer


def make_model(config):
    return TransformerLM(
        vocab_size=config["vocab_size"],
        embed_dim=config["d_model"],
        num_layers=config["n_layer"],
        num_heads=config["n_head"],
        head_dim=config["d_head"],
        inner_dim=config["d_inner"],
        share_biases=not config["untie_r"],
        norm_first=config["pre_lnorm"],
        memory_length=config["mem_len"],
        clamp_length=max(config["clamp_len"], 0),  # -1: none
        same_length=config["same_length"],
        softmax="adaptive" if config["cutoffs"] else "tied",
        cutoffs=tuple(config["cutoffs"]),
        div_val=config["div_val"],
        untie_first_projection=config["div_val"] > 1 and "tie_projs" not in config,
    )


def read(model, state):
    params, names = from_transformer("here", state, model.cutoffs)
    check_params("here", params, flat_shapes(model), names)
    return jax.tree.map(jnp.asarray, unflatten_params(params))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_same_log_probabilities_as_the_memory_fills(name):
    golden = load_transformer(name)
    model = make_model(golden.config)
    params = read(model, golden.state)
    run, carry = jax.jit(model.log_probs), model.initial_carry(golden.inputs.shape[2])
    for inputs, expected in zip(golden.inputs, golden.log_probs, strict=True):
        log_probs, carry = run(params, jnp.asarray(inputs), carry)
        np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["one_softmax", "div_val_4", "same_length"])
def test_the_authors_layout_has_the_same_parameters(name):
    golden = load_transformer(name)
    model = make_model(golden.config)
    authors = read(model, as_authors(golden.state))
    jax.tree.map(np.testing.assert_array_equal, authors, read(model, golden.state))
