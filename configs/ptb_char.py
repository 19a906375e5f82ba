"""Penn Treebank by character, the recipe of Merity et al. 2018b: published 1.175 bits on test."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 500 epochs; 13,787,650 parameters."""
    config = default.get_config()
    config.name = "ptb_char"
    config.data.corpus = "ptb_char"
    config.data.level = "char"
    config.data.vocabulary = "all"
    config.model.embed_dim = 200
    config.model.hidden_dim = 1000
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = 0.1
    config.model.hidden_dropout_rate = 0.25
    config.model.output_dropout_rate = 0.1
    config.model.weight_drop_rate = 0.5
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.decay_epochs = (300, 400)
    config.optimizer.averaging = False
    config.train.batch_size = 128
    config.train.bptt = 150
    config.train.num_epochs = 500
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    return default.apply_variant(config, variant)
