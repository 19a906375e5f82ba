"""Penn Treebank by word, the recipe of `ptb_small` with an adaptive softmax."""

from ml_collections import ConfigDict

from configs import default, ptb_small


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 686 windows."""
    config = ptb_small.get_config()
    config.name = "ptb_small_adaptive"
    config.model.softmax = "adaptive"
    config.model.cutoffs = (2_000, 5_000)
    return default.apply_variant(config, variant)
