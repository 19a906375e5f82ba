"""Rules of config fields that depend on one another, except those of a model."""

from ml_collections import ConfigDict

from awd_jax.errors import InputError


def check_optimizer(optimizer: ConfigDict) -> None:
    """Checks the group `optimizer`.

    Raises:
      InputError: two of its fields do not go together.
    """
    if optimizer.name == "adam" and optimizer.learning_rate >= 1:
        raise InputError(
            f"config.optimizer.learning_rate = {optimizer.learning_rate}",
            "must be below 1 with adam, which moves every parameter by about the rate",
            "set --config.optimizer.learning_rate=1e-3, or another --config.optimizer.name",
        )
    if optimizer.name == "sgd" and optimizer.adam_beta1 != 0.9:  # the default
        raise InputError(
            f"config.optimizer.adam_beta1 = {optimizer.adam_beta1}",
            "is for adam, and config.optimizer.name = sgd",
            "leave --config.optimizer.adam_beta1 out",
        )
    _check_schedule(optimizer)


def check_training(config: ConfigDict) -> None:
    """Checks fields of the group `train`, and of the data, that depend on the model.

    Raises:
      InputError: they do not go together.
    """
    train, data, name = config.train, config.data, config.model.name
    is_exercise = name == "seq2seq" and data.corpus != "pairs" and not data.dir
    if is_exercise and "word" in (data.source_level, data.level):
        raise InputError(
            f"config.data.corpus = {data.corpus}",
            f"is of letters, and the levels are {data.source_level} and {data.level}",
            "set --config.data.source_level=char --config.data.level=char",
        )
    if name == "seq2seq" and config.model.share_embeddings and not config.data.shared_vocabulary:
        raise InputError(
            "config.model.share_embeddings = True",
            "needs one vocabulary of both sides",
            "set --config.data.shared_vocabulary=True",
        )
    if name == "seq2seq" and train.num_samples:
        raise InputError(
            f"config.train.num_samples = {train.num_samples}",
            "is for language models",
            "leave --config.train.num_samples out",
        )
    if name != "seq2seq" and train.measures:
        raise InputError(
            f"config.train.measures = {train.measures}",
            "is for sequence to sequence",
            "leave --config.train.measures out",
        )
    if train.best_by not in ("nll", *train.measures):
        raise InputError(
            f"config.train.best_by = {train.best_by}",
            "must be nll, or one of config.train.measures",
            "add it to --config.train.measures",
        )


def _check_schedule(optimizer: ConfigDict) -> None:
    owners = {
        "schedule_steps": ("cosine", "halving"),
        "final_rate_factor": ("cosine",),
        "num_halvings": ("halving",),
    }
    has_end = optimizer.schedule in owners["schedule_steps"]
    if has_end and optimizer.schedule_steps <= optimizer.warmup_steps:
        raise InputError(
            f"config.optimizer.schedule_steps = {optimizer.schedule_steps}",
            f"must be more than warmup_steps = {optimizer.warmup_steps}: "
            f"the {optimizer.schedule} ends there",
            "set --config.optimizer.schedule_steps to the updates of the whole run",
        )
    if optimizer.schedule == "halving" and 2 * optimizer.warmup_steps > optimizer.schedule_steps:
        raise InputError(
            f"config.optimizer.warmup_steps = {optimizer.warmup_steps}",
            "must be half of schedule_steps at most: halving begins there",
            "lower it",
        )
    if optimizer.schedule == "halving" and not optimizer.num_halvings:
        raise InputError(
            "config.optimizer.num_halvings = 0",
            "is needed where config.optimizer.schedule = halving",
            "set --config.optimizer.num_halvings=...",
        )
    for name, schedules in owners.items():
        if optimizer[name] and optimizer.schedule not in schedules:
            raise InputError(
                f"config.optimizer.{name} = {optimizer[name]}",
                f"is for {' and '.join(schedules)}, and config.optimizer.schedule = "
                f"{optimizer.schedule}",
                f"leave --config.optimizer.{name} out",
            )
