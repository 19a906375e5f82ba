"""WikiText-2 by word, finetuned: published 67.4 valid, 64.7 test. For `--task=finetune`."""

from ml_collections import ConfigDict

from configs import wt2


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe: starts from the best model in runs/wt2, writes to runs/wt2/finetune."""
    config = wt2.get_config(variant)
    config.train.seed = 1  # for windows and masks that the base run has not seen
    return config
