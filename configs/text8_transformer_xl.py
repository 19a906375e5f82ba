"""text8 by character, Transformer-XL as on enwik8; published for its large model, 1.08 bits."""

from ml_collections import ConfigDict

from configs import default, enwik8_transformer_xl


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 51 epochs of 7,990 windows; 40,965,148 parameters, with `<eos>`."""
    config = enwik8_transformer_xl.get_config()
    config.name = "text8_transformer_xl"
    config.data.corpus = "text8"
    return default.apply_variant(config, variant)
