"""Penn Treebank by word, the small LSTM of "Deep Learning from Scratch 2".

One LSTM of 100, no dropout, a softmax with a matrix of its own: a log of 4 epochs ends at a test
perplexity of 137.0, section 6.4 of the book (Rnnlm).
"""

from ml_collections import ConfigDict

from configs import default, ptb_better_rnnlm


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 4 epochs of 1,328 windows.

    2,090,800 parameters, 400 of them a second bias.
    """
    config = ptb_better_rnnlm.get_config()
    config.name = "ptb_rnnlm"
    config.model.softmax = "separate"
    config.model.embed_dim = 100
    config.model.hidden_dim = 100
    config.model.num_layers = 1
    config.model.dropout_kind = "locked"
    config.model.input_dropout_rate = 0.0
    config.model.hidden_dropout_rate = 0.0
    config.model.output_dropout_rate = 0.0
    config.optimizer.plateau_factor = 1.0
    config.train.num_epochs = 4
    return default.apply_variant(config, variant)
