"""Mean NLL of a whole split."""

from collections.abc import Callable

import jax
import numpy as np
import optax
from jaxtyping import Int32

from awd_jax.data import windows
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.train.devices import num_local, own_sequences
from awd_jax.train.state import initial_carry
from awd_jax.train.step import make_eval_step, make_place, pmap_eval_step

# At least so many a window: each one lays out the weights anew, which a narrow one must not pay.
WINDOW_TOKENS = 1024


def make_evaluate(
    model: AWDLSTM,
    bptt: int,
    devices: list[jax.Device],
    between_windows: Callable[[], None] = lambda: None,
) -> Callable[[optax.Params, Int32[np.ndarray, "rows B"]], float]:
    """Returns a function of (params, stream) that gives the mean NLL in nats per token.

    The stream is what `batchify` gives. All rows but the first are scored, each
    once; the carry goes through from the first to the last. `between_windows` is
    called there, and may raise to end it.
    """
    num_replicas = num_local(devices)
    eval_step = pmap_eval_step(make_eval_step(model), devices)
    place = make_place(devices, (None, 0))

    def evaluate(params: optax.Params, stream: Int32[np.ndarray, "rows B"]) -> float:
        num_rows, batch_size = stream.shape
        own = own_sequences(stream, devices)
        # Empty sequences make the batch divisible.
        width = -(-batch_size // len(devices)) * num_replicas
        idle = width - own.shape[1]
        # No padding but in the last window.
        num_steps = max(bptt, WINDOW_TOKENS // batch_size)
        window_length = windows.bucket(min(num_steps, num_rows - 1))
        carry = initial_carry(model, width, num_replicas)
        params, carry = place((params, carry))
        sums = []
        plan = windows.fixed_windows(num_rows, window_length)
        for start, length in zip(plan.starts.tolist(), plan.lengths.tolist(), strict=True):
            batch = windows.window_batch(own, start, length, window_length)
            batch = jax.tree.map(
                lambda a: np.pad(a, ((0, 0), (0, idle))).reshape(len(a), num_replicas, -1), batch
            )
            carry, nll = eval_step(params, carry, batch, np.int32(length))
            sums.append(nll)
            jax.block_until_ready(sums[-2:-1])  # the device is one window behind at most
            between_windows()
        # Windows are summed in float32 where they ran, and together in float64.
        return float(np.sum(jax.device_get(sums), dtype=np.float64)) / ((num_rows - 1) * batch_size)

    return evaluate
