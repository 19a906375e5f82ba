"""WikiText-2 by word, a mixture of softmaxes: the recipe of Yang et al. 2018.

Published 66.0 valid, 63.3 test; finetuned 63.9, 61.5; with dynamic evaluation 42.4, 40.7. The
original draws other masks for each third of a batch, and averages their gradients.
"""

from ml_collections import ConfigDict

from configs import default, wt2


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 1000 epochs of 2,055 windows; 34,909,528 parameters."""
    config = wt2.get_config()
    config.name = "wt2_mos"
    config.model.softmax = "mixture"
    config.model.num_components = 15
    config.model.embed_dim = 300
    config.model.last_hidden_dim = 650
    config.model.input_dropout_rate = 0.55
    config.model.latent_dropout_rate = 0.29
    config.optimizer.learning_rate = 15.0
    config.train.batch_size = 15
    config.train.num_epochs = 1000
    return default.apply_variant(config, variant)
