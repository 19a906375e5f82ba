"""Addition of reversed sources, with a decoder that reads them at every step."""

from ml_collections import ConfigDict

from configs import addition, default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 25 epochs of 352 batches."""
    config = addition.get_config()
    config.name = "addition_reversed_peeky"
    config.model.reverse_source = True
    config.model.peeky = True
    return default.apply_variant(config, variant)
