"""A small ULMFiT for a CPU, on the language model of `quickstart`: subjects and their pronouns."""

from ml_collections import ConfigDict

from configs import default, quickstart, ulmfit


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 20 epochs on the first 500 documents."""
    config = ulmfit.get_config()
    config.name = "ulmfit_small"
    config.data.corpus = "subjects"
    config.data.max_examples = 500
    config.data.num_buckets = 2
    encoder = quickstart.get_config().model
    for name in ("embed_dim", "hidden_dim", "num_layers"):
        config.model[name] = encoder[name]
    config.model.embed_dropout_rate = 0.02
    config.model.input_dropout_rate = 0.1
    config.model.hidden_dropout_rate = 0.1
    config.model.weight_drop_rate = 0.2
    config.train.activation_reg = 0.5
    config.train.temporal_activation_reg = 0.2
    config.train.batch_size = 20
    config.train.num_epochs = 20
    return default.apply_variant(config, variant)
