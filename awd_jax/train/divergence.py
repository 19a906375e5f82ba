"""Checks for diverged training, made before anything is reported or saved."""

import math

from awd_jax.errors import DivergedError
from awd_jax.train.state import TrainState

_REMEDY = (
    "the last good checkpoint is kept: try a lower --config.optimizer.learning_rate "
    "or --config.optimizer.max_grad_norm in a new --workdir"
)


def check_steps(state: TrainState, epoch: int, windows_done: int) -> None:
    """Checks that the loss and gradient of every step of the epoch so far are finite.

    Raises:
      DivergedError: one is not; names the step and the window.
    """
    bad_step = int(state.first_bad_step)
    if bad_step >= 0:
        window = windows_done - (int(state.step) - bad_step)
        raise DivergedError(
            f"loss or gradient of step {bad_step} (epoch {epoch}, window {window})"
            f" is not finite; {_REMEDY}"
        )


def check_validation(valid_nll: float, epoch: int) -> None:
    """Checks that a validation loss is finite, which finite training steps do not ensure.

    Raises:
      DivergedError: it is not finite.
    """
    if not math.isfinite(valid_nll):
        raise DivergedError(f"validation loss of epoch {epoch} is {valid_nll}; {_REMEDY}")
