"""WikiText-103 by word, the base model of Transformer-XL: published 23.1 valid, 24.0 test."""

from ml_collections import ConfigDict

from configs import default, models


def original(config: ConfigDict, rate: float) -> None:
    """Trains as Dai et al. 2019 do, with plain dropout of this rate."""
    config.model.dropout_kind = "elementwise"
    config.model.embed_dropout_rate = 0.0
    config.model.input_dropout_rate = rate
    config.model.attention_dropout_rate = 0.0
    config.model.attended_dropout_rate = rate
    config.model.feedforward_dropout_rate = rate
    config.model.output_dropout_rate = rate
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2.5e-4
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.averaging = False
    config.train.random_windows = False
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 18 epochs of 11,470 windows; 151,107,538 parameters.

    The last 6,460 windows, after the cosine's 200,000 updates, have a rate of 0.
    """
    config = default.get_config()
    config.name = "wt103_transformer_xl"
    config.data.corpus = "wikitext103"
    config.data.cache_dir = "runs/corpora"
    config.model = models.transformer()
    original(config, rate=0.1)
    config.model.embed_dim = 410
    config.model.num_layers = 16
    config.model.num_heads = 10
    config.model.head_dim = 41
    config.model.inner_dim = 2100
    config.model.memory_length = 150
    config.model.eval_memory_length = 640
    config.model.eval_clamp_length = 400
    config.model.softmax = "adaptive"
    config.model.cutoffs = (20_000, 40_000, 200_000)
    config.optimizer.schedule_steps = 200_000
    config.train.batch_size = 60
    config.train.bptt = 150
    config.train.num_epochs = 18
    return default.apply_variant(config, variant)
