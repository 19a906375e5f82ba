"""WikiText-103 by word, the QRNN of Merity et al. 2018b: published 32 valid, 33 test."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 14 epochs of 12,650 windows; 153,886,638 parameters."""
    config = default.get_config()
    config.name = "wt103_qrnn"
    config.data.corpus = "wikitext103"
    config.data.cache_dir = "runs/corpora"
    config.model.cell = "qrnn"
    config.model.filter_width = 2
    config.model.softmax = "adaptive"
    config.model.cutoffs = (2_800, 20_000, 76_000)
    config.model.hidden_dim = 2500
    config.model.num_layers = 4
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = 0.1
    config.model.hidden_dropout_rate = 0.1
    config.model.output_dropout_rate = 0.1
    config.model.weight_drop_rate = 0.0
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.decay_epochs = (12,)
    config.optimizer.averaging = False
    config.train.batch_size = 60
    config.train.bptt = 140
    config.train.num_epochs = 14
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    return default.apply_variant(config, variant)
