"""Penn Treebank by word, the recipe of `ptb_small` with a mixture of five softmaxes."""

from ml_collections import ConfigDict

from configs import default, ptb_small


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 686 windows."""
    config = ptb_small.get_config()
    config.name = "ptb_small_mixture"
    config.model.softmax = "mixture"
    config.model.num_components = 5
    config.model.latent_dropout_rate = 0.15
    config.optimizer.learning_rate = 20.0
    return default.apply_variant(config, variant)
