"""A small AWD-LSTM on a short text, to see what each of its parts is worth.

An AWD-LSTM with 60,000 tokens of the built-in corpus, whose exact perplexity is known. What it has
not said is as in ptb.py.
"""

from ml_collections import ConfigDict

from configs import default, ptb


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 30 epochs of some 90 windows."""
    config = ptb.get_config()
    config.name = "ablation"
    config.data.corpus = "synthetic"
    config.data.max_tokens = 60_000
    config.model.embed_dim = 64
    config.model.hidden_dim = 160
    config.model.num_layers = 2
    config.model.embed_dropout_rate = 0.02
    config.model.input_dropout_rate = 0.1
    config.model.hidden_dropout_rate = 0.1
    config.model.output_dropout_rate = 0.1
    config.model.weight_drop_rate = 0.4
    config.train.bptt = 35
    config.train.num_epochs = 30
    return default.apply_variant(config, variant)
