"""GNMT (Wu et al. 2016, arXiv 1609.08144) as its public version trained it, on pairs in `data.dir`.

Published for WMT English to German, newstest2014: BLEU 24.4 with 8 layers, 24.6 in the paper. It
needs a GPU or TPU, and text in subwords. The public version sums its loss over the tokens of a
sentence: at 25 of them, its rate of 1 and clip of 5 are those below. Not the same: parameters are
drawn as those of our cells, not all from U(-0.1, 0.1); the context has no dropout of its own; a
residual adds what dropout has left of the input.
"""

from ml_collections import ConfigDict

from configs import corpora, default, models


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 8 + 8 layers of 1024, 340,000 updates."""
    config = default.get_config()
    config.name = "gnmt"
    config.data = corpora.pairs()
    config.data.max_length = 50
    config.data.faults = "skip"
    config.data.num_buckets = 4
    config.model = model = models.seq2seq()
    model.embed_dim = 1024
    model.hidden_dim = 1024
    model.encoder_layers = 8
    model.decoder_layers = 8
    model.bidirectional = "bottom"
    model.residual_from = 3
    model.attention = "additive"
    model.placement = "gnmt"
    model.forget_gate_bias = 1.0
    model.dropout_kind = "elementwise"
    model.input_dropout_rate = 0.2
    model.hidden_dropout_rate = 0.2
    config.optimizer.learning_rate = 25.0
    config.optimizer.max_grad_norm = 0.2
    config.optimizer.weight_decay = 0.0
    config.optimizer.averaging = False
    config.optimizer.schedule = "halving"
    config.optimizer.schedule_steps = 340_000
    config.optimizer.num_halvings = 10
    config.train.batch_size = 128
    config.train.valid_batch_size = 128
    config.train.test_batch_size = 128
    config.train.num_epochs = 10  # 340,000 updates are 9.7 epochs of 4.5 million pairs
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    config.translate.beam_size = 10
    config.translate.length_penalty = 1.0
    return default.apply_variant(config, variant)
