"""ULMFiT: a classifier on the encoder of an AWD-LSTM (Howard and Ruder 2018, arXiv 1801.06146).

`--task=classify --workdir=DIR` starts from the language model in DIR, `--task=train` from nothing.
"""

from ml_collections import ConfigDict

from configs import corpora, default, models


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe for documents in `data.dir`: 10 epochs, the first ones of few layers."""
    config = default.get_config()
    config.name = "ulmfit"
    config.data = corpora.labels()
    config.model = models.classifier()
    config.model.embed_dropout_rate = 0.05
    config.model.input_dropout_rate = 0.4
    config.model.hidden_dropout_rate = 0.3
    config.model.output_dropout_rate = 0.0
    config.optimizer.name = "adam"
    config.optimizer.adam_beta1 = 0.7
    config.optimizer.adam_beta2 = 0.99
    config.optimizer.learning_rate = 1e-2
    config.optimizer.schedule = "slanted"
    config.optimizer.layer_rate_factor = 1 / 2.6
    config.optimizer.thaw_epochs = 1
    config.optimizer.max_grad_norm = 25.0
    config.optimizer.weight_decay = 1e-6
    config.optimizer.averaging = False
    config.train.batch_size = 32
    config.train.valid_batch_size = 64
    config.train.test_batch_size = 64
    config.train.num_epochs = 10
    config.train.measures = ("accuracy", "f1")
    config.train.best_by = "accuracy"
    return default.apply_variant(config, variant)
