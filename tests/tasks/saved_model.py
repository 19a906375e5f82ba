"""A workdir with a model in it, without training; far from uniform."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import NTASGDState
from awd_jax.data.corpus import Corpus
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Progress, Validation
from awd_jax.run.workdir import describe
from awd_jax.train.language import fingerprint
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.problem import make_model
from awd_jax.train.state import TrainState, init_state, where_evaluated
from configs import default

TOKENS = ("<eos>", "<unk>", *"abcdefgh")


def make_config() -> ConfigDict:
    config = default.get_config("smoke")
    config.model.num_layers = 2
    config.train.batch_size = 3
    config.train.num_devices = 1
    return config


def save_model(config: ConfigDict, workdir: Path, tokens: tuple[str, ...] = TOKENS) -> TrainState:
    """Saves a model whose averages are not its parameters."""

    nothing = np.zeros(0, np.int32)
    corpus = Corpus(
        "none", config.data.level, Vocabulary(tokens), nothing, nothing, nothing, (), None
    )
    state = init_state(
        make_model(config.model, len(tokens)), make_optimizer(config.optimizer), 0, 3
    )
    params = jax.tree.map(lambda p: 5 * p, state.params)
    opt_state = jax.tree.map(
        lambda s: (
            s._replace(
                num_averaged=s.num_averaged + 1, average=jax.tree.map(lambda p: 1.5 * p, params)
            )
            if isinstance(s, NTASGDState)
            else s
        ),
        state.opt_state,
        is_leaf=lambda s: isinstance(s, NTASGDState),
    )
    state = state._replace(params=params, opt_state=opt_state, step=state.step + 7)
    identity = Identity(describe(config, fingerprint(corpus)), tokens)
    with Checkpoints(workdir / "checkpoints", identity) as checkpoints:
        progress = Progress(step=7, epoch=2, window=0, log_bytes=0, best_nll=1.0, num_plateaus=0)
        checkpoints.save(state, progress, Validation(1.0, where_evaluated(state)))
    return state
