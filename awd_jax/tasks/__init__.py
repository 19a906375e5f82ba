"""What the command can do, each a function of (config, workdir)."""

from awd_jax.tasks.evaluate import evaluate
from awd_jax.tasks.train import train

TASKS = {"train": train, "evaluate": evaluate}
