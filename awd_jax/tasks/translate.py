"""Translates each line of a file or of standard input with a trained model."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.data.spelling import spell
from awd_jax.data.text import Text, text_lines, without_ends
from awd_jax.data.vocabulary import EOS, PAD, UNK
from awd_jax.errors import InputError
from awd_jax.files import local_path
from awd_jax.models.contract import Translator
from awd_jax.tasks.input_file import open_input
from awd_jax.tasks.lines import Line, blocks, encode_line
from awd_jax.tasks.model_file import BestModel, load_best_model
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.table import Table, with_bar
from awd_jax.tasks.translation import Hypothesis, LineTranslator, check_attention

COLUMNS = ("line", "score", "num_tokens", "translation")
NUM_DECIMALS = 4  # of an attention


class Translated(NamedTuple):
    """A source and its translations, best first."""

    line: Line
    hypotheses: list[Hypothesis]


def translate(config: ConfigDict, workdir: Path) -> None:
    """Translates each line of the input; writes a row for each translation, and translate.json.

    The rows are in the order of the input, several of one line best first.

    Raises:
      InputError: before anything is written: the options contradict one another, there is no such
        model, or the input cannot be read, or has a line that cannot be a source.
    """
    options = config.translate
    _check(config)
    best = load_best_model(config, workdir, Translator)
    _check_attention(config)
    assert best.source_level is not None
    with open_input("config.translate.input", options.input, best.source_level) as text:
        num_lines = num_unk = 0
        for line in read_sources(text, best):
            num_lines += 1
            num_unk += line.num_unk
        path = local_path("config.translate.output", options.output) if options.output else None
        started = time.perf_counter()
        with output.open_output(path) as out:
            columns = COLUMNS
            if options.format == "jsonl":
                columns += ("source",) + ("attention",) * options.attention
            table = Table(out, options.format, columns)
            translated = _translate(options, best, read_sources(text, best))
            lines = with_bar(translated, num_lines, "line", options.output)
            num_tokens = _write(table, columns, best, lines)
        seconds = time.perf_counter() - started
    result = {
        **options.to_dict(),
        "step": best.step,
        "num_sources": num_lines,
        "num_tokens": num_tokens,
        "num_unk": num_unk,
        "seconds": seconds,
        "sources_per_second": num_lines / seconds,
    }
    leave_json(workdir, "translate", result)
    if num_unk:
        output.note(f"tokens outside the vocabulary, read as {UNK}: {num_unk:,}")
    output.note(
        f"{num_lines:,} sources, {num_tokens:,} tokens | "
        f"{result['sources_per_second']:,.1f} sources per second"
    )


def read_sources(text: Text, best: BestModel) -> Iterator[Line]:
    """Yields the sources of a text, one a line.

    Raises:
      InputError: a line is blank or has `<eos>` in it, a token is outside a vocabulary without
        `<unk>`, or the text cannot be read.
    """
    for number, tokens in enumerate(text_lines(without_ends(text)), 1):
        yield read_source(f"{text.name}, line {number}", tokens, best)


def read_source(place: str, tokens: list[str], best: BestModel) -> Line:
    """Returns a source of these tokens, filled up as those that the model learned from.

    Raises:
      InputError: as `read_sources`; it names the place.
    """
    if not tokens or EOS in tokens:
        rule = f"has {EOS} in it" if tokens else "is blank"
        raise InputError(place, rule, "give one source a line")
    assert best.source_vocabulary is not None
    filling = [PAD] * (best.source_length - len(tokens))
    return encode_line(place, tokens + filling, best.source_vocabulary)


def _check(config: ConfigDict) -> None:
    options = config.translate
    most = options.beam_size if options.method == "beam" else 1
    if options.num_best > most:
        raise InputError(
            f"config.translate.num_best = {options.num_best}",
            f"must be at most {most} with method {options.method}",
            "ask for fewer, or raise --config.translate.beam_size with method beam",
        )
    if options.attention and options.format != "jsonl":
        raise InputError(
            "config.translate.attention = True",
            f"is for jsonl, and config.translate.format = {options.format}",
            "set --config.translate.format=jsonl",
        )


def _check_attention(config: ConfigDict) -> None:
    for name in ("attention", "coverage_penalty"):
        if config.translate[name]:
            check_attention(config, f"config.translate.{name} = {config.translate[name]}")


def _translate(options: ConfigDict, best: BestModel, lines: Iterator[Line]) -> Iterator[Translated]:
    translator = LineTranslator(options, best)
    start = 0
    for block in blocks(lines):
        yield from map(Translated, block, translator.translate(block, start))
        start += len(block)


def _write(
    table: Table, columns: tuple[str, ...], best: BestModel, lines: Iterator[Translated]
) -> int:
    """Writes a row for each translation; returns how many tokens they have."""
    assert best.source_level is not None
    num_tokens = 0
    for number, (line, hypotheses) in enumerate(lines, 1):
        for found in hypotheses:
            row: dict[str, Any] = {
                "line": number,
                "score": found.score,
                "num_tokens": found.num_tokens,
                "translation": spell(found.tokens, best.level),
                "source": spell((t for t in line.tokens if t != PAD), best.source_level),
            }
            if found.attention is not None:
                rows = found.attention.tolist()
                row["attention"] = [[round(a, NUM_DECIMALS) for a in steps] for steps in rows]
            table.write([row[name] for name in columns])
            num_tokens += found.num_tokens
    return num_tokens
