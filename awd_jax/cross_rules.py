"""Rules of config fields that depend on one another, except those of a model."""

from ml_collections import ConfigDict

from awd_jax.errors import InputError

# Of the models that have any, by their names.
MEASURES = {
    "seq2seq": ("exact_match", "token_accuracy", "bleu", "chrf"),
    "classifier": ("accuracy", "f1"),
    "bits": ("wrong_bits",),
}


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
    for name, default in (("adam_beta1", 0.9), ("adam_beta2", 0.999)):
        if optimizer.name == "sgd" and optimizer[name] != default:
            raise InputError(
                f"config.optimizer.{name} = {optimizer[name]}",
                "is for adam, and config.optimizer.name = sgd",
                f"leave --config.optimizer.{name} out",
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
    if name not in ("recurrent", "transformer") and train.num_samples:
        raise InputError(
            f"config.train.num_samples = {train.num_samples}",
            "is for language models",
            "leave --config.train.num_samples out",
        )
    others = [measure for measure in train.measures if measure not in MEASURES.get(name, ())]
    if others:
        owner = next(model for model, names in MEASURES.items() if others[0] in names)
        raise InputError(
            f"config.train.measures = {train.measures}",
            f"{others[0]} is for a model {owner}, and config.model.name = {name}",
            "leave it out",
        )
    for field, off, owners in (
        ("layer_rate_factor", 1, ("recurrent", "classifier")),
        ("thaw_epochs", 0, ("recurrent", "classifier")),
        ("embed_rate_factor", 1, ("recurrent", "transformer", "seq2seq")),
    ):
        if config.optimizer[field] != off and name not in owners:
            raise InputError(
                f"config.optimizer.{field} = {config.optimizer[field]}",
                f"is for models {', '.join(owners)}, and config.model.name = {name}",
                f"leave --config.optimizer.{field} out",
            )
    if train.best_by not in ("nll", *train.measures):
        raise InputError(
            f"config.train.best_by = {train.best_by}",
            "must be nll, or one of config.train.measures",
            "add it to --config.train.measures",
        )


def check_bits(data: ConfigDict, least_length: int) -> None:
    """Checks the group `data` of an exercise of bits, whose sequences have a least length.

    Raises:
      InputError: two of its fields do not go together.
    """
    is_repeated = data.corpus == "repeat_copy"
    for field, is_wrong, rule in (
        ("min_length", data.min_length > data.max_length, f"is above {data.max_length}, the most"),
        (
            "min_length",
            data.min_length < least_length,
            f"must be {least_length} or more where config.data.corpus = {data.corpus}",
        ),
        (
            "test_length",
            0 < data.test_length < least_length,
            f"must be 0, or {least_length} or more where config.data.corpus = {data.corpus}",
        ),
        (
            "max_repeats",
            bool(data.max_repeats) != is_repeated,
            "is needed where config.data.corpus = repeat_copy"
            if is_repeated
            else f"is for repeat_copy, and config.data.corpus = {data.corpus}",
        ),
    ):
        if is_wrong:
            raise InputError(
                f"config.data.{field} = {data[field]}", rule, f"give another --config.data.{field}"
            )


def _check_schedule(optimizer: ConfigDict) -> None:
    if optimizer.schedule == "slanted" and optimizer.warmup_steps:
        raise InputError(
            f"config.optimizer.warmup_steps = {optimizer.warmup_steps}",
            "must be 0 where config.optimizer.schedule = slanted, which rises by itself",
            "leave --config.optimizer.warmup_steps out",
        )
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
