"""WikiText-103 by word: LSTMs under an adaptive softmax, with the settings of `wt103_qrnn`."""

from ml_collections import ConfigDict

from configs import default, wt103_qrnn


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 14 epochs of 12,650 windows; 164,924,154 parameters. Unpublished."""
    config = wt103_qrnn.get_config()
    config.name = "wt103_lstm"
    config.model.cell = "lstm"
    config.model.filter_width = 1
    config.model.hidden_dim = 2048
    config.model.num_layers = 3
    return default.apply_variant(config, variant)
