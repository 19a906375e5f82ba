"""Associative recall by the neural Turing machine: which of up to 6 items came after this one?"""

from ml_collections import ConfigDict

from configs import default, ntm_copy


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe, which differs from the copy task in the data alone."""
    config = ntm_copy.get_config()
    config.name = "ntm_associative_recall"
    config.data.corpus = "associative_recall"
    config.data.min_length = 2
    config.data.max_length = 6
    return default.apply_variant(config, variant)
