"""Penn Treebank by word with a small model: a recipe that a laptop can finish."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 686 windows."""
    config = default.get_config()
    config.name = "ptb_small"
    config.data.corpus = "ptb"
    config.data.vocabulary = "all"
    config.model.embed_dim = 128
    config.model.hidden_dim = 256
    config.model.embed_dropout_rate = 0.05
    config.model.input_dropout_rate = 0.2
    config.model.hidden_dropout_rate = 0.15
    config.model.output_dropout_rate = 0.2
    config.model.weight_drop_rate = 0.3
    config.train.num_epochs = 16
    return default.apply_variant(config, variant)
