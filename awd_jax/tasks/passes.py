"""One pass over a stream, in blocks of windows that the device loops over."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32
from tqdm import tqdm

from awd_jax import output
from awd_jax.batches import Window
from awd_jax.data.windows import WindowPlan, even_plan
from awd_jax.run.report import describe_nll, perplexity


class Scored(NamedTuple):
    """The result of a pass, and how long it took (compilation included, if any)."""

    nlls: Float[np.ndarray, "*models"]  # mean of each scored model, in nats per token
    seconds: float
    tokens_per_second: float


def segments(stream: Int32[np.ndarray, "rows B"], length: int) -> WindowPlan:
    """Returns windows of one length, which is cut to that of the text: memory must follow it."""
    return even_plan(stream, min(length, len(stream) - 1))


def blocks(plan: WindowPlan, num_windows: int) -> Iterator[Window]:
    """Yields blocks of S = `num_windows` windows, stacked for a loop on the device.

    All blocks have one shape and thus one program: windows without tokens fill the last one.
    """
    # The text bounds the memory: a flag may ask for far more windows than it has.
    num_windows = min(num_windows, len(plan))
    for start in range(0, len(plan), num_windows):
        windows = [plan[i] for i in range(start, min(start + num_windows, len(plan)))]
        empty = jax.tree.map(np.zeros_like, windows[0])
        windows += [empty] * (num_windows - len(windows))
        yield jax.tree.map(lambda *arrays: np.stack(arrays), *windows)


def run_pass(
    step: Callable[[Any, Window], tuple[Any, jax.Array]],
    state: Any,
    plan: WindowPlan,
    num_windows: int,
    name: str,
) -> tuple[Any, Scored]:
    """Runs a step over all windows, with a progress bar; silent without a terminal.

    Args:
      step: maps (state, block) to the new state and the sum of NLL of each model that it scores.
      state: the state before the first window. Donated.
      plan: the windows.
      num_windows: S, windows per block.
      name: label of the bar.

    Returns:
      The state after the last window, and the result.
    """
    num_tokens = plan.num_tokens
    sums = []
    started = time.perf_counter()
    with tqdm(
        total=num_tokens, desc=name, unit="token", unit_scale=True, leave=False, disable=None
    ) as bar:
        for block in blocks(plan, num_windows):
            state, block_sums = step(state, block)
            # Summed in float32 on the device, and over blocks in float64. The wait keeps
            # the bar honest and costs little, as a block is long.
            sums.append(np.asarray(block_sums, np.float64))
            bar.update(int(block.counts.tokens.sum()))
    jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    return state, Scored(np.sum(sums, axis=0) / num_tokens, seconds, num_tokens / seconds)


def nll_result(nll: float) -> dict[str, float]:
    """Returns a mean NLL for a result file: nats per token and perplexity."""
    return {"nll": nll, "perplexity": perplexity(nll)}


def pass_result(names: tuple[str, ...], scored: Scored) -> dict[str, dict[str, float]]:
    """Returns the losses and speed of a pass by model, for a result file."""
    speed = {
        "seconds": scored.seconds,
        "tokens_per_second": scored.tokens_per_second,
    }
    return {
        name: nll_result(nll) | speed for name, nll in zip(names, scored.nlls.tolist(), strict=True)
    }


def say_pass(split: str, names: tuple[str, ...], scored: Scored, level: str) -> None:
    """Prints a pass as one line."""
    models = " | ".join(
        f"{name} {describe_nll(nll, level)}"
        for name, nll in zip(names, scored.nlls.tolist(), strict=True)
    )
    speed = f"{scored.seconds:.0f} s, {scored.tokens_per_second:,.0f} tokens/s"
    output.say(f"{split} | {models} | {speed}")
