"""The repeat copy task of the neural Turing machine: up to 10 vectors, up to 10 times."""

from ml_collections import ConfigDict

from configs import default, ntm_copy


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe, which differs from the copy task in the data alone."""
    config = ntm_copy.get_config()
    config.name = "ntm_repeat_copy"
    config.data.corpus = "repeat_copy"
    config.data.max_length = 10
    config.data.max_repeats = 10
    return default.apply_variant(config, variant)
