"""Penn Treebank by word with a small plain Transformer, as large as the LSTM of `ptb_small`."""

from ml_collections import ConfigDict

from configs import default, models, ptb_small_transformer_xl


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 664 windows; 2,408,712 parameters."""
    config = ptb_small_transformer_xl.get_config()
    config.name = "ptb_small_transformer"
    models.plain(config.model, segment=config.train.bptt)
    config.model.inner_dim = 468
    return default.apply_variant(config, variant)
