"""Every kind of language model at one size, as in --config=experiments/agreement_recipe.py:gru.

About 93,500 parameters each, trained by Adam on a text that is read once, without dropout, at the
better of the rates 0.003 and 0.01 (by valid, with seed 0; those runs are not kept).
"""

from ml_collections import ConfigDict

from configs import default, models

RECURRENT = {
    "rnn": {"cell": "rnn", "hidden_dim": 241},
    "gru": {"cell": "gru", "hidden_dim": 119},
    "lstm": {"cell": "lstm", "hidden_dim": 96},
    "qrnn": {"cell": "qrnn", "hidden_dim": 193, "filter_width": 2},
    "mogrifier": {
        **{"cell": "mogrifier", "hidden_dim": 77},
        **{"mogrifier_rounds": 5, "mogrifier_rank": 16},
    },
    "ntm": {"cell": "ntm", "hidden_dim": 105, "memory_rows": 16, "memory_dim": 16},
}
TRANSFORMERS = {"transformer": 192, "transformer_xl": 168}  # inner_dim
NAMES = (*RECURRENT, *TRANSFORMERS)
FAST = ("lstm", "qrnn")  # learn at the higher rate


def get_config(name: str = "lstm") -> ConfigDict:
    """Returns the recipe of a model: 2 million tokens, 350 of them in each of 5,713 updates."""
    config = default.get_config()
    config.name = name
    config.data.corpus = "text"
    config.model = recurrent(name) if name in RECURRENT else transformer(name)
    for field in config.model:
        if field.endswith("_rate"):
            config.model[field] = 0.0
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.01 if name in FAST else 0.003
    config.optimizer.max_grad_norm = 1.0
    config.optimizer.weight_decay = 0.0
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.schedule_steps = 5713
    config.optimizer.averaging = False
    # A segment of the plain Transformer is a text of its own: it must not be too short.
    config.train.bptt, config.train.batch_size = (35, 10) if name in RECURRENT else (70, 5)
    config.train.random_windows = False
    config.train.activation_reg = 0.0
    config.train.temporal_activation_reg = 0.0
    config.train.num_epochs = 1
    return config


def recurrent(name: str) -> ConfigDict:
    """The fields of two recurrent layers of a cell."""
    model = models.recurrent()
    model.embed_dim, model.num_layers = 48, 2
    model.update(RECURRENT[name])
    return model


def transformer(name: str) -> ConfigDict:
    """The fields of three layers of attention, which see the window before too or only theirs."""
    model = models.transformer()
    model.embed_dim, model.num_layers, model.num_heads, model.head_dim = 48, 3, 4, 12
    model.inner_dim = TRANSFORMERS[name]
    model.memory_length, model.eval_memory_length = 70, 140
    if name == "transformer":
        models.plain(model, segment=70)
    return model
