"""Scores each line of a file or of standard input with a trained model."""

import contextlib
import io
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from tqdm import tqdm

from awd_jax import output
from awd_jax.data.text import Text, file_text, text_lines
from awd_jax.data.vocabulary import UNK
from awd_jax.errors import InputError, one_line
from awd_jax.files import is_pipe_or_device, local_path, to_json
from awd_jax.run.report import describe_nll, perplexity
from awd_jax.tasks.lines import ScoredLine, Scorer, read_lines
from awd_jax.tasks.model_file import BestModel, load_best_model
from awd_jax.tasks.results import leave_json

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
      InputError: before anything is written: there is no such model, or the input cannot
        be read, is not UTF-8, or has a token outside a vocabulary without `<unk>`.
    """
    options = config.score
    with _open_input(options.input, config.data.level) as text:
        num_lines = sum(1 for _ in text_lines(text))
        best = load_best_model(config, workdir)
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


@contextlib.contextmanager
def _open_input(path: str, level: str) -> Iterator[Text]:
    """Opens the input. It is read twice, to check and to score, so a pipe is copied first."""
    named = local_path("config.score.input", path)
    if path != "-" and not is_pipe_or_device(named):
        yield file_text(named, level)
        return
    name = "standard input" if path == "-" else path
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(tempfile.NamedTemporaryFile())
            pipe = sys.stdin.buffer if path == "-" else stack.enter_context(named.open("rb"))
            shutil.copyfileobj(pipe, copy, 1 << 20)
            copy.flush()
        except OSError as error:
            rule = f"cannot be copied into a temporary file ({one_line(error)})"
            raise InputError(name, rule, "give a readable file") from error
        if copy.tell() == 0:
            raise InputError(name, "is empty", "give it at least one line")
        yield file_text(Path(copy.name), level)._replace(name=name)


def _scored_lines(
    options: ConfigDict, best: BestModel, text: Text, num_lines: int
) -> Iterator[ScoredLine]:
    scorer = Scorer(best)
    lines = read_lines(text, best.vocabulary)
    if options.carry:
        scored = scorer.score_in_order(lines)
    else:
        scored = scorer.score_apart(lines, options.batch_size)
    # Results on a terminal show the progress themselves.
    disable = True if not options.output and sys.stdout.isatty() else None
    yield from tqdm(scored, total=num_lines, unit="line", leave=False, disable=disable)


def _write(options: ConfigDict, out: io.TextIOWrapper, lines: Iterator[ScoredLine]) -> Totals:
    columns = COLUMNS + TOKEN_COLUMNS * options.per_token
    if options.format == "tsv":
        out.write("\t".join(columns) + "\n")
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
        if options.format == "jsonl":
            row_by_name = dict(zip(columns, row, strict=True))
            out.write(to_json(row_by_name, ensure_ascii=False) + "\n")
        else:
            out.write("\t".join(map(_cell, row)) + "\n")
    return totals


def _cell(value: Any) -> str:
    """Formats a cell of a table: six decimals; blanks between the items of a list."""
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return f"{value:.6f}" if isinstance(value, float) else str(value)
