"""The ids of a whole text."""

import numpy as np

from awd_jax.data.text import Text, encode_text
from awd_jax.data.vocabulary import Vocabulary


def whole_ids(text: Text, vocabulary: Vocabulary) -> np.ndarray:
    return np.concatenate([block.ids for block in encode_text(text, vocabulary)])
