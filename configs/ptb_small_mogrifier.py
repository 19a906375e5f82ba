"""Penn Treebank by word, the recipe of `ptb_small` with Mogrifier LSTMs in place of LSTMs."""

from ml_collections import ConfigDict

from configs import default, ptb_small


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 686 windows."""
    config = ptb_small.get_config()
    config.name = "ptb_small_mogrifier"
    config.model.cell = "mogrifier"
    config.model.mogrifier_rounds = 5
    config.model.mogrifier_rank = 24
    config.model.cap_input_gate = True
    return default.apply_variant(config, variant)
