"""Penn Treebank by word, the 24M Mogrifier LSTM of Melis, Kocisky and Blunsom (2020).

Published: 51.4 valid, 50.1 test; 44.9 and 44.8 with dynamic evaluation, after a search of the
softmax's temperature: they multiply logits by 0.8 to 1.06, `--task=tune_temperature` divides by
0.94 to 1.26. What they do and we do not: start a window from zeros with probability 0.01, average
from step 160,000 on at the latest, validate every 200 steps, clip the L2 term, have one bias vector
a layer and start all biases but the forget gate's at 0, and scale Adam's epsilon with the loss.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 962 epochs of 208 windows, their 200,000 steps; 23,993,776 parameters.

    Their loss is a sum over the 70 steps of a window, ours a mean: clip and L2 are divided by 70.
    """
    config = default.get_config()
    config.name = "ptb_mogrifier"
    config.data.corpus = "ptb"
    config.data.vocabulary = "all"
    config.model.cell = "mogrifier"
    config.model.mogrifier_rounds = 5
    config.model.mogrifier_rank = 84
    config.model.cap_input_gate = True
    config.model.forget_gate_bias = 1.0
    config.model.embed_dim = 912
    config.model.hidden_dim = 912
    config.model.num_layers = 2
    config.model.sum_outputs = True
    config.model.dropout_kind = "elementwise"
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = 0.729
    config.model.hidden_dropout_rate = 0.291
    config.model.state_dropout_rate = 0.387
    config.model.output_dropout_rate = 0.716
    config.model.weight_drop_rate = 0.0
    config.optimizer.name = "adam"
    config.optimizer.adam_beta1 = 0.0
    config.optimizer.learning_rate = 2.3e-3
    config.optimizer.max_grad_norm = 10 / 70
    config.optimizer.weight_decay = 2.5e-4 / 70
    config.optimizer.nonmono = 50
    config.train.batch_size = 64
    config.train.bptt = 70
    config.train.random_windows = False
    config.train.num_epochs = 962
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    return default.apply_variant(config, variant)
