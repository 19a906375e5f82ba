"""Penn Treebank by word, the recipe of `ptb_small` with QRNNs in place of LSTMs."""

from ml_collections import ConfigDict

from configs import default, ptb_small


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 686 windows."""
    config = ptb_small.get_config()
    config.name = "ptb_small_qrnn"
    config.model.cell = "qrnn"
    config.model.filter_width = 2
    config.model.weight_drop_rate = 0.1  # of whole matrices, as in `ptb_qrnn`
    return default.apply_variant(config, variant)
