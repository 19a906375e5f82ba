"""Penn Treebank by word, finetuned: published 58.8 valid, 56.5 test. For `--task=finetune`."""

from ml_collections import ConfigDict

from configs import ptb


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: starts from the best model in runs/ptb, writes to runs/ptb/finetune."""
    config = ptb.get_config(variant)
    config.train.seed = 1  # for windows and masks that the base run has not seen
    return config
