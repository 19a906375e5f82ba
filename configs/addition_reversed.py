"""Addition as in `addition`, with sources that are read from their end."""

from ml_collections import ConfigDict

from configs import addition, default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 25 epochs of 352 batches."""
    config = addition.get_config()
    config.name = "addition_reversed"
    config.model.reverse_source = True
    return default.apply_variant(config, variant)
