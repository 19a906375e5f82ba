"""A small GNMT for a CPU, on pairs in `data.dir`: letters to words, such as their pronunciation.

`experiments/letters_to_phones.py` writes such pairs from a pronouncing dictionary.
"""

from ml_collections import ConfigDict

from configs import addition, default, gnmt


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 3 + 3 layers of 256, 12 epochs."""
    config = gnmt.get_config()
    config.name = "gnmt_small"
    config.data.source_level = "char"
    config.data.max_length = 0
    config.data.num_buckets = 4
    config.model.embed_dim = 64
    config.model.hidden_dim = 256
    config.model.encoder_layers = 3
    config.model.decoder_layers = 3
    config.optimizer = addition.get_config().optimizer
    config.train.num_epochs = 12
    config.train.measures = ("exact_match", "token_accuracy")
    return default.apply_variant(config, variant)
