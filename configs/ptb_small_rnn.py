"""Penn Treebank by word, the recipe of `ptb_small` with tanh RNNs in place of LSTMs."""

from ml_collections import ConfigDict

from configs import default, ptb_small


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 686 windows."""
    config = ptb_small.get_config()
    config.name = "ptb_small_rnn"
    config.model.cell = "rnn"
    config.optimizer.learning_rate = 3.0
    return default.apply_variant(config, variant)
