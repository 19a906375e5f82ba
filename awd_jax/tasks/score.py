"""Scores each line of a file or of standard input with a trained model."""

import io
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.data.text import Text, text_lines
from awd_jax.data.vocabulary import UNK
from awd_jax.files import local_path
from awd_jax.run.report import describe_nll, perplexity
from awd_jax.tasks.input_file import open_input
from awd_jax.tasks.lines import ScoredLine, Scorer, read_lines
from awd_jax.tasks.model_file import BestModel, check_forward, load_best_model
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.table import Table, with_bar

COLUMNS = ("line", "num_tokens", "num_unk", "log_prob", "perplexity")
TOKEN_COLUMNS = ("tokens", "log_probs")


class Totals(NamedTuple):
    """Sums over the lines so far."""

    num_lines: int = 0
    num_tokens: int = 0
    num_unk: int = 0
    log_prob: float = 0.0  # nats


def score(config: ConfigDict, workdir: Path) -> None:
    """Scores each line of the input; writes one line of results per line, and score.json.

    A line's tokens include its `<eos>`. Before them, the model has read the `<eos>` of a previous
    line, or with `config.score.carry` all previous lines.

    Raises:
      InputError: before anything is written: there is no such model, it reads backward, or the
        input cannot be read, is not UTF-8, or has a token outside a vocabulary without `<unk>`.
    """
    options = config.score
    best = load_best_model(config, workdir)
    check_forward(best)
    with open_input("config.score.input", options.input, best.level) as text:
        num_lines = sum(1 for _ in text_lines(text))
        if best.vocabulary.unk_id is None:
            for _ in read_lines(text, best.vocabulary):
                pass
        started = time.perf_counter()
        path = local_path("config.score.output", options.output) if options.output else None
        with output.open_output(path) as out:
            totals = _write(options, out, _scored_lines(options, best, text, num_lines))
        seconds = time.perf_counter() - started
    nll = -totals.log_prob / totals.num_tokens
    result = {
        **options.to_dict(),
        "step": best.step,
        **totals._asdict(),
        "nll": nll,
        "perplexity": perplexity(nll),
        "bits": nll / math.log(2),
        "seconds": seconds,
        "tokens_per_second": totals.num_tokens / seconds,
    }
    leave_json(workdir, "score", result)
    if totals.num_unk:
        output.note(f"tokens outside the vocabulary, read as {UNK}: {totals.num_unk:,}")
    output.note(
        f"{totals.num_lines:,} lines, {totals.num_tokens:,} tokens | "
        f"{describe_nll(nll, best.level)} | {result['tokens_per_second']:,.0f} tokens per second"
    )


def _scored_lines(
    options: ConfigDict, best: BestModel, text: Text, num_lines: int
) -> Iterator[ScoredLine]:
    scorer = Scorer(best)
    lines = read_lines(text, best.vocabulary)
    if options.carry:
        scored = scorer.score_in_order(lines)
    else:
        scored = scorer.score_apart(lines, options.batch_size)
    yield from with_bar(scored, num_lines, "line", options.output)


def _write(options: ConfigDict, out: io.TextIOWrapper, lines: Iterator[ScoredLine]) -> Totals:
    columns = COLUMNS + TOKEN_COLUMNS * options.per_token
    table = Table(out, options.format, columns)
    totals = Totals()
    for (tokens, ids, num_unk), log_probs in lines:
        log_prob = log_probs.sum(dtype=float).item()
        totals = Totals(
            totals.num_lines + 1,
            totals.num_tokens + len(ids),
            totals.num_unk + num_unk,
            totals.log_prob + log_prob,
        )
        row: list[Any] = [
            *(totals.num_lines, len(ids), num_unk, log_prob),
            perplexity(-log_prob / len(ids)),
        ]
        if options.per_token:
            row += [tokens, log_probs.tolist()]
        table.write(row)
    return totals
