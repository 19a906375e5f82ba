"""A model and a text of seconds, for tests of what goes through a text at batch 1."""

import jax
import numpy as np

from awd_jax.models.recurrent import RecurrentLM

MODEL = RecurrentLM(vocab_size=11, embed_dim=6, hidden_dim=9, num_layers=2)
# Larger than at the start of training, so that the model has opinions.
PARAMS = jax.tree.map(lambda p: 3 * p, MODEL.init_params(jax.random.key(0)))
_random = np.random.RandomState(0)
STREAM = _random.randint(0, 11, size=(38, 1)).astype(np.int32)
TRAIN = _random.randint(0, 11, size=(23, 4)).astype(
    np.int32
)  # 22 targets: the last window is short
