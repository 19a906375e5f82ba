"""Penn Treebank by word, the recipe of `ptb` with GRUs in place of LSTMs; unpublished."""

from ml_collections import ConfigDict

from configs import default, ptb


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 500 epochs of 686 windows; 19,168,700 parameters."""
    config = ptb.get_config()
    config.name = "ptb_gru"
    config.model.cell = "gru"
    config.optimizer.learning_rate = 8.0
    return default.apply_variant(config, variant)
