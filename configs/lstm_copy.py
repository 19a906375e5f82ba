"""The copy task by an LSTM, with more parameters than the neural Turing machine of ntm_copy.py."""

from ml_collections import ConfigDict

from configs import corpora, default, models, ntm_copy


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: three layers of 256, as in Graves, Wayne and Danihelka (2014)."""
    config = default.get_config()
    config.name = "lstm_copy"
    config.data = corpora.bits()
    config.model = models.bits()
    config.model.forget_gate_bias = 1.0
    ntm_copy.train_on_bits(config)
    return default.apply_variant(config, variant)
