"""A run of seconds, for tests."""

from awd_jax.train.checkpoint import Checkpoints
from awd_jax.train.devices import choose_devices
from awd_jax.train.interruption import Interruption
from awd_jax.train.loop import Trained, Trainer
from awd_jax.train.meta import Identity
from awd_jax.train.report import Report
from awd_jax.train.streams import make_streams, read_corpus
from awd_jax.train.workdir import describe
from configs import default


def make_tiny_config():
    config = default.get_config("smoke")
    config.name = "tiny"
    config.data.max_tokens = 700
    config.model.num_layers = 2
    config.train.bptt = 5  # lengths of 5 to 16: two programs
    config.train.log_steps = 4
    config.train.num_devices = 1
    return config


def run_training(config, workdir, checkpoints_class=Checkpoints, base=None) -> Trained:
    """Trains in a workdir as the task does."""
    corpus = read_corpus(config.data)
    streams = make_streams(config.train, corpus)
    devices = choose_devices(config.train)
    with (
        Interruption() as interruption,
        Report(workdir) as report,
        checkpoints_class(
            workdir / "checkpoints", Identity(describe(config, corpus), corpus.vocabulary.tokens)
        ) as checkpoints,
    ):
        return Trainer(
            config, corpus, streams, devices, report, checkpoints, interruption, base
        ).train()
