"""Penn Treebank by word with a small Transformer-XL, as large as the LSTM of `ptb_small`."""

from ml_collections import ConfigDict

from configs import default, models, ptb_small


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 16 epochs of 664 windows; 2,408,584 parameters."""
    config = ptb_small.get_config()
    config.name = "ptb_small_transformer_xl"
    config.model = models.transformer()
    config.model.embed_dim = 128
    config.model.num_layers = 6
    config.model.num_heads = 4
    config.model.head_dim = 32
    config.model.inner_dim = 404
    config.model.memory_length = 70
    config.model.eval_memory_length = 140
    config.model.embed_dropout_rate = 0.05
    config.model.input_dropout_rate = 0.2
    config.model.attention_dropout_rate = 0.0
    config.model.attended_dropout_rate = 0.15
    config.model.feedforward_dropout_rate = 0.15
    config.model.output_dropout_rate = 0.2
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 500
    config.optimizer.schedule_steps = 16 * 664
    config.optimizer.weight_decay = 0.0
    config.train.random_windows = False
    config.train.activation_reg = 0.0  # features have unit variance: it would only shrink them
    config.train.temporal_activation_reg = 0.0
    return default.apply_variant(config, variant)
