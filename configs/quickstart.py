"""A small model on the built-in corpus, whose exact perplexity is known: minutes on a laptop."""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: prints the test perplexity, the best possible one, and sentences."""
    config = default.get_config()
    config.name = "quickstart"
    config.data.corpus = "synthetic"
    config.model.embed_dim = 48
    config.model.hidden_dim = 96
    config.model.num_layers = 2
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = 0.02
    config.model.hidden_dropout_rate = 0.02
    config.model.output_dropout_rate = 0.02
    config.model.weight_drop_rate = 0.1
    config.optimizer.nonmono = 2
    config.train.activation_reg = 0.5
    config.train.temporal_activation_reg = 0.2
    config.train.num_epochs = 20
    config.train.num_samples = 5
    return default.apply_variant(config, variant)
