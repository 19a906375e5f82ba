"""Dates in four formats to YYYY-MM-DD with attention, as in Deep Learning from Scratch 2.

As published, the padding of a source is read and may be attended to. Of the questions of test, 29 %
are in train as well; with `--config.data.corpus=dates_by_date`, none is, nor any other question of
the same day.
"""

from ml_collections import ConfigDict

from configs import addition, default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 10 epochs of 352 batches."""
    config = addition.get_config()
    config.name = "dates_attention"
    config.data.corpus = "dates"
    config.data.source_length = 29  # as published; without it, it needs three times the epochs
    config.model.hidden_dim = 256
    config.model.reverse_source = True
    config.model.attention = "dot"
    config.train.num_epochs = 10
    return default.apply_variant(config, variant)
