"""Training that diverged: found before it is reported or saved."""

import math

from awd_jax.errors import DivergedError
from awd_jax.train.state import TrainState

_REMEDY = (
    "the last good checkpoint is kept: try a lower --config.optimizer.learning_rate "
    "or --config.optimizer.max_grad_norm in a new --workdir"
)


def check_steps(state: TrainState, epoch: int, windows_done: int) -> None:
    """Checks the loss and the gradient of every step of an epoch so far.

    Raises:
      DivergedError: one was not finite; it names the step and the window.
    """
    bad_step = int(state.first_bad_step)
    if bad_step >= 0:
        window = windows_done - (int(state.step) - bad_step)
        raise DivergedError(
            f"loss or gradient of step {bad_step} (epoch {epoch}, window {window})"
            f" is not finite; {_REMEDY}"
        )


def check_validation(valid_nll: float, epoch: int) -> None:
    """Checks a validation loss, which may be bad where every step was good.

    Raises:
      DivergedError: it is not finite.
    """
    if not math.isfinite(valid_nll):
        raise DivergedError(f"validation loss of epoch {epoch} is {valid_nll}; {_REMEDY}")
