"""Penn Treebank by word, the recipe of Merity et al. 2018: published 61.2 valid, 58.8 test."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 500 epochs of 686 windows; 24,221,600 parameters."""
    config = default.get_config()  # the defaults are this recipe
    config.name = "ptb"
    config.data.corpus = "ptb"
    config.data.vocabulary = "all"
    return default.apply_variant(config, variant)
