"""WikiText-2 by word, the recipe of Merity et al. 2018: published 68.7 valid, 65.6 test."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 750 epochs of 386 windows; 33,556,078 parameters."""
    config = default.get_config()
    config.name = "wt2"
    config.data.corpus = "wikitext2"
    config.data.vocabulary = "all"
    config.model.input_dropout_rate = 0.65
    config.model.hidden_dropout_rate = 0.2
    config.train.batch_size = 80
    config.train.num_epochs = 750
    config.cache.window = 3785
    config.cache.theta = 0.662
    config.cache.lamb = 0.1279
    return default.apply_variant(config, variant)
