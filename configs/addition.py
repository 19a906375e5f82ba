"""Addition of numbers, letter by letter, as in the book Deep Learning from Scratch 2.

The decoder starts with the encoder's h alone. Its padding is a symbol, here it changes nothing.
"""

from ml_collections import ConfigDict

from configs import corpora, default, models


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 25 epochs of 352 batches."""
    config = default.get_config()
    config.name = "addition"
    config.data = corpora.pairs()
    config.data.corpus = "addition"
    config.data.source_level = config.data.level = "char"
    config.data.shared_vocabulary = True
    config.data.num_buckets = 1  # batches of all lengths, as published
    config.model = models.seq2seq()
    config.model.hand_over = "h"
    config.model.initializer = "fan_in"
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.max_grad_norm = 5.0
    config.optimizer.weight_decay = 0.0
    config.optimizer.averaging = False
    config.train.batch_size = 128
    config.train.valid_batch_size = 512
    config.train.test_batch_size = 512
    config.train.num_epochs = 25
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    config.train.measures = ("exact_match",)
    config.train.best_by = "exact_match"
    return default.apply_variant(config, variant)
