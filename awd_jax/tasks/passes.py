"""One pass over a stream, in blocks of windows that the device goes through by itself."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32
from tqdm import tqdm

from awd_jax import output
from awd_jax.data.corpus import Corpus
from awd_jax.data.windows import Batch, batchify
from awd_jax.run.report import describe_nll, perplexity

Stream = Int32[np.ndarray, "rows B"]


class Scored(NamedTuple):
    """What a pass found, and how long it took (compilation included, where there was one)."""

    nlls: Float[np.ndarray, "*models"]  # mean of each model that the pass scored, nats per token
    seconds: float
    tokens_per_second: float


class SplitStreams(NamedTuple):
    """Valid and test as one sequence each: [N, 1]."""

    valid: Stream
    test: Stream


def split_streams(corpus: Corpus) -> SplitStreams:
    """The splits that are scored, at batch 1.

    Raises:
      InputError: one has less than two tokens.
    """
    return SplitStreams(batchify(corpus.valid, 1), batchify(corpus.test, 1))


def cut_blocks(stream: Stream, length: int, num_windows: int) -> Iterator[Batch]:
    """Blocks [S, T, B] of S = `num_windows` windows of T = `length` rows, padded at the end.

    All are of one shape: one program. Every row but the first is a target once.
    """
    # Memory must follow the text: a flag may ask for windows far longer than it.
    length = min(length, len(stream) - 1)
    num_windows = min(num_windows, -(-(len(stream) - 1) // length))
    size = num_windows * length
    for start in range(0, len(stream) - 1, size):
        rows = stream[start : start + size + 1]
        real = len(rows) - 1

        def shape(a: np.ndarray, real: int = real) -> np.ndarray:
            padded = np.pad(a, ((0, size - real), (0, 0)))
            return padded.reshape(num_windows, length, -1)

        weights = np.ones_like(rows[1:], np.float32)
        yield Batch(shape(rows[:-1]), shape(rows[1:]), shape(weights))


def run_pass(
    step: Callable[[Any, Batch], tuple[Any, jax.Array]],
    state: Any,
    stream: Stream,
    length: int,
    num_windows: int,
    name: str,
) -> tuple[Any, Scored]:
    """Goes through a stream, with a bar that knows the time left; silent without a terminal.

    Args:
      step: (state, block) to the state and the sum of NLL of each model that it scores.
      state: before the stream. Donated.
      stream: tokens, a sequence a column.
      length: T of a window.
      num_windows: S of a block.
      name: what the bar says.

    Returns:
      The state after the stream, and what was found.
    """
    num_tokens = stream[1:].size
    sums = []
    started = time.perf_counter()
    with tqdm(
        total=num_tokens, desc=name, unit="token", unit_scale=True, leave=False, disable=None
    ) as bar:
        for block in cut_blocks(stream, length, num_windows):
            state, block_sums = step(state, block)
            # Summed in float32 where it ran, and together in float64. The wait keeps
            # the bar honest and costs nothing: a block is long.
            sums.append(np.asarray(block_sums, np.float64))
            bar.update(int(block.weights.sum()))
    jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    return state, Scored(np.sum(sums, axis=0) / num_tokens, seconds, num_tokens / seconds)


def nll_result(nll: float) -> dict[str, float]:
    """A mean NLL for a result file: nats per token and perplexity."""
    return {"nll": nll, "perplexity": perplexity(nll)}


def pass_result(names: tuple[str, ...], scored: Scored) -> dict[str, dict[str, float]]:
    """The models of a pass by name, for a result file."""
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
