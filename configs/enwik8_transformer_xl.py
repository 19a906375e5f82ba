"""enwik8 by byte, the base model of Transformer-XL: published 1.06 bits on test."""

from ml_collections import ConfigDict

from configs import default, models, wt103_transformer_xl


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: 51 epochs of 7,990 windows, 7,490 of them after the cosine.

    It has 41,055,949 parameters, for newlines are tokens.
    """
    config = default.get_config()
    config.name = "enwik8_transformer_xl"
    config.data.corpus = "enwik8"
    config.data.level = "byte"
    config.data.vocabulary = "all"
    config.model = models.transformer()
    wt103_transformer_xl.original(config, rate=0.1)
    config.model.embed_dim = 512
    config.model.num_layers = 12
    config.model.num_heads = 8
    config.model.head_dim = 64
    config.model.inner_dim = 2048
    config.model.memory_length = 512
    config.model.eval_memory_length = 2100
    config.model.eval_clamp_length = 820
    config.optimizer.schedule_steps = 400_000
    config.train.batch_size = 22
    config.train.bptt = 512
    config.train.num_epochs = 51
    return default.apply_variant(config, variant)
