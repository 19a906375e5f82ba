"""Words of up to 20 letters to be written backwards, with attention; those of test have 20."""

from ml_collections import ConfigDict

from configs import addition, default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 5 epochs of 391 batches."""
    config = addition.get_config()
    config.name = "reverse_attention"
    config.data.corpus = "reverse"
    config.data.num_buckets = 3
    config.model.hand_over = "state"
    config.model.initializer = "parts"
    config.model.bidirectional = "all"
    config.model.attention = "general"
    config.model.placement = "luong"
    config.train.num_epochs = 5
    return default.apply_variant(config, variant)
