"""Parameters as the first checkpoint of a workdir, from which every task can start."""

from pathlib import Path
from typing import Any

import optax
from ml_collections import ConfigDict

from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Progress, Validation
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.workdir import CHECKPOINTS, open_workdir
from awd_jax.train.learner import Learner
from awd_jax.train.state import where_evaluated


def save_model(
    config: ConfigDict,
    workdir: Path,
    model: Any,
    params: optax.Params,
    identity: Identity,
    rank: float,
) -> None:
    """Saves a model as step 0 of a run, ranked like an epoch with this validation loss.

    Raises:
      RunError: the workdir belongs to another run, is in use, or cannot be written.
    """
    learner = Learner(config, model, choose_replicas(config.train))
    state = learner.start_from(learner.init(), params)
    with (
        open_workdir(workdir, identity.fields),
        Checkpoints(workdir / CHECKPOINTS, identity) as checkpoints,
    ):
        progress = Progress(step=0, epoch=1, window=0, log_bytes=0, best_nll=rank, num_plateaus=0)
        checkpoints.save(state, progress, Validation(rank, where_evaluated(state)))
