"""enwik8 by byte, the recipe of Merity et al. 2018b: published 1.232 bits on test."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 50 epochs of 3,600 windows; 47,270,045 parameters."""
    config = default.get_config()
    config.name = "enwik8"
    config.data.corpus = "enwik8"
    config.data.level = "byte"
    config.data.vocabulary = "all"
    config.model.hidden_dim = 1840
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = 0.1
    config.model.hidden_dropout_rate = 0.1
    config.model.output_dropout_rate = 0.4
    config.model.weight_drop_rate = 0.2
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.decay_epochs = (25, 35)
    config.optimizer.averaging = False
    config.train.batch_size = 128
    config.train.bptt = 200
    config.train.num_epochs = 50
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    return default.apply_variant(config, variant)
