"""Penn Treebank by word, Zaremba et al. 2014 as "Deep Learning from Scratch 2" trains it.

Two LSTMs of 650, a tied softmax, elementwise dropout, and a rate that is divided by 4 whenever
valid is no new best: published test perplexity 75.76, section 6.5 of the book (BetterRnnlm).
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 40 epochs of 1,328 windows.

    13,280,400 parameters, 5,200 of them second biases.
    """
    config = default.get_config()
    config.name = "ptb_better_rnnlm"
    config.data.corpus = "ptb"
    config.data.vocabulary = "all"
    config.model.embed_dim = 650
    config.model.hidden_dim = 650
    config.model.num_layers = 2
    config.model.dropout_kind = "elementwise"
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = 0.5
    config.model.hidden_dropout_rate = 0.5
    config.model.output_dropout_rate = 0.5
    config.model.weight_drop_rate = 0.0
    config.optimizer.learning_rate = 20.0
    config.optimizer.weight_decay = 0.0
    config.optimizer.plateau_factor = 0.25
    config.optimizer.averaging = False
    config.train.bptt = 35
    config.train.random_windows = False
    config.train.num_epochs = 40
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    return default.apply_variant(config, variant)
