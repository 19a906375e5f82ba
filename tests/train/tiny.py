"""A run of seconds, for tests."""

from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.report import Report
from awd_jax.run.stops import Interruption
from awd_jax.run.workdir import describe
from awd_jax.train import make_problem
from awd_jax.train.loop import Trained, Trainer
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
    problem = make_problem(config)
    replicas = choose_replicas(config.train)
    fields = describe(config, problem.fingerprint)
    identity = Identity(fields, problem.vocabulary, problem.source_vocabulary, problem.labels)
    with (
        Interruption() as interruption,
        Report(workdir) as report,
        checkpoints_class(workdir / "checkpoints", identity) as checkpoints,
    ):
        parts = (config, problem, replicas, report, checkpoints, interruption)
        return Trainer(*parts, base, is_finetuning=base is not None).train()
