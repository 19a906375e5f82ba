"""Penn Treebank by word, a mixture of softmaxes: the recipe of Yang et al. 2018.

Published 58.1 valid, 56.0 test; finetuned 56.5, 54.4; with dynamic evaluation 48.3, 47.7.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 1000 epochs of 1,143 windows; 21,500,620 parameters."""
    config = default.get_config()
    config.name = "ptb_mos"
    config.data.corpus = "ptb"
    config.data.vocabulary = "all"
    config.model.softmax = "mixture"
    config.model.num_components = 15
    config.model.embed_dim = 280
    config.model.hidden_dim = 960
    config.model.last_hidden_dim = 620
    config.model.hidden_dropout_rate = 0.225
    config.model.latent_dropout_rate = 0.29
    config.optimizer.learning_rate = 20.0
    config.train.batch_size = 12
    config.train.num_epochs = 1000
    return default.apply_variant(config, variant)
