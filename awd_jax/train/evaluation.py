"""Mean NLL of a whole split."""

from collections.abc import Callable

import jax
import numpy as np
import optax
from jaxtyping import Int32

from awd_jax.data import windows
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.run.replicas import Replicas
from awd_jax.train.step import EVAL_AXES, make_eval_step

# At least so many a window: each one lays out the weights anew, which a narrow one must not pay.
WINDOW_TOKENS = 1024


def make_evaluate(
    model: AWDLSTM,
    bptt: int,
    replicas: Replicas,
    between_windows: Callable[[], None] = lambda: None,
) -> Callable[[optax.Params, Int32[np.ndarray, "rows B"]], float]:
    """Returns a function of (params, stream) that gives the mean NLL in nats per token.

    The stream is what `batchify` gives. All rows but the first are scored, each
    once; the carry goes through from the first to the last. `between_windows` is
    called there, and may raise to end it.
    """
    eval_step = replicas.pmap(make_eval_step(model), *EVAL_AXES)

    def evaluate(params: optax.Params, stream: Int32[np.ndarray, "rows B"]) -> float:
        num_rows, batch_size = stream.shape
        own, width = stream[:, replicas.share(batch_size)], replicas.width(batch_size)
        # No padding but in the last window.
        num_steps = max(bptt, WINDOW_TOKENS // batch_size)
        window_length = windows.bucket(min(num_steps, num_rows - 1))
        carry = replicas.split_carry(model.initial_carry(width))
        params, carry = replicas.put((params, carry), (None, 0), donate=False)
        sums = []
        plan = windows.fixed_windows(num_rows, window_length)
        for start, length in zip(plan.starts.tolist(), plan.lengths.tolist(), strict=True):
            batch = windows.window_batch(own, start, length, window_length)
            split = replicas.split(batch, width)
            carry, nll = eval_step(params, carry, split, np.int32(length))
            sums.append(nll)
            jax.block_until_ready(sums[-2:-1])  # the device is one window behind at most
            between_windows()
        # Windows are summed in float32 where they ran, and together in float64.
        return float(np.sum(jax.device_get(sums), dtype=np.float64)) / ((num_rows - 1) * batch_size)

    return evaluate
