"""Penn Treebank by word, Transformer-XL: published 56.7 valid, 54.5 test, without its recipe.

These are the settings of a later implementation, with the averaging of `ptb` in place of its 50
epochs of a running mean.
"""

from ml_collections import ConfigDict

from configs import default, models


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 250 epochs of 291 windows; 23,477,488 parameters."""
    config = default.get_config()
    config.name = "ptb_transformer_xl"
    config.data.corpus = "ptb"
    config.data.vocabulary = "all"
    config.model = models.transformer()
    config.model.memory_length = 80
    config.model.eval_memory_length = 280
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 8e-4
    config.optimizer.embed_rate_factor = 2.0
    config.optimizer.weight_decay = 7e-6
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 20_000
    config.optimizer.schedule_steps = 200 * 291
    config.optimizer.final_rate_factor = 0.125
    config.train.batch_size = 40
    config.train.bptt = 80
    config.train.random_windows = False
    config.train.num_epochs = 250
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.05
    return default.apply_variant(config, variant)
