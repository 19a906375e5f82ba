"""The copy task of the neural Turing machine: up to 20 vectors of 8 bits, once read, are written.

The sizes are those of Graves, Wayne and Danihelka (2014), the settings those of Collier and Beel
(2018), who report less than 0.1 wrong bits a sequence.
"""

from ml_collections import ConfigDict

from configs import corpora, default, models


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 20 epochs of 250 batches."""
    config = default.get_config()
    config.name = "ntm_copy"
    config.data = corpora.bits()
    config.model = models.bits()
    config.model.cell = "ntm"
    config.model.num_layers = 1
    config.model.hidden_dim = 120  # 100 of the LSTM, and 20 that are read
    config.model.forget_gate_bias = 1.0
    config.model.memory_rows = 128
    config.model.memory_dim = 20
    train_on_bits(config)
    return default.apply_variant(config, variant)


def train_on_bits(config: ConfigDict) -> None:
    """Sets how a model of bits is trained."""
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.max_grad_norm = 5.0  # of a mean over steps: 50 is usual for a sum
    config.optimizer.weight_decay = 0.0
    config.optimizer.averaging = False
    config.optimizer.decay_epochs = (16,)
    config.train.batch_size = 32
    config.train.valid_batch_size = 32
    config.train.test_batch_size = 32
    config.train.num_epochs = 20
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    config.train.measures = ("wrong_bits",)
