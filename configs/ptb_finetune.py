"""Penn Treebank by word, finetuned: published 58.8 valid, 56.5 test. For `--task=finetune`."""

from ml_collections import ConfigDict

from configs import ptb


def get_config(variant: str = "") -> ConfigDict:
    """Starts from the best model of runs/ptb, and goes to runs/ptb/finetune."""
    config = ptb.get_config(variant)
    config.train.seed = 1  # other windows and masks than the base run had
    return config
