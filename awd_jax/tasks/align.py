"""Draws which tokens of a source each token of its target attends to."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.data.text import string_text, text_lines
from awd_jax.data.vocabulary import EOS
from awd_jax.errors import InputError
from awd_jax.files import local_path, read_text
from awd_jax.models.contract import Translator
from awd_jax.tasks.lines import encode_line
from awd_jax.tasks.model_file import BestModel, load_best_model
from awd_jax.tasks.pictures import load_figure, save_figure
from awd_jax.tasks.translate import read_source
from awd_jax.tasks.translation import LineTranslator, check_attention

INCHES, MOST_INCHES = 0.35, 100  # of a cell of a picture, and of a picture


class Aligned(NamedTuple):
    """A source, its target, and the attention of each token of the target."""

    source: list[str]
    target: list[str]  # with its `<eos>`
    attention: Float32[np.ndarray, "N S"]


def align(config: ConfigDict, workdir: Path) -> None:
    """Draws the attention of the first lines of a file, as WORKDIR/align-1.png and so on.

    A line is a source, a tab and its target; or a source alone, whose translation by beam search
    is its target.

    Raises:
      InputError: before anything is written: matplotlib is not installed, there is no such model,
        it has no attention, or the file cannot be read or has a line that cannot be a source.
      StorageError: a picture cannot be written.
    """
    figure_class = load_figure("align")
    best = load_best_model(config, workdir, Translator)
    check_attention(config, "--task=align")
    name = config.align.input
    path = local_path("config.align.input", name)
    if not name:
        raise InputError("config.align.input = ''", "must be a file", "set --config.align.input")
    lines = read_text(name, path, "give a readable file").split("\n")
    last = len(lines) - (lines[-1] == "")
    options = config.translate.copy_and_resolve_references()
    options.update({"method": "beam", "num_best": 1, "attention": True})
    translator = LineTranslator(options, best)
    pairs = [
        _align(f"{name}, line {number}", line.removesuffix("\r"), best, translator)
        for number, line in enumerate(lines[: min(config.align.num_pairs, last)], 1)
    ]
    if not pairs:
        raise InputError(name, "is empty", "give it at least one line")
    for number, pair in enumerate(pairs, 1):
        picture = workdir / f"align-{number}.png"
        save_figure(_draw(figure_class, pair), picture)
        output.say(str(picture))


def _align(place: str, line: str, best: BestModel, translator: LineTranslator) -> Aligned:
    assert best.source_level is not None
    text, tab, target_text = line.partition("\t")
    tokens = _tokens(place, best.source_level, text)
    source = read_source(place, tokens, best)
    if not tab:
        [[found]] = translator.translate([source], 0)
        assert found.attention is not None
        target = found.tokens + [EOS] * (found.num_tokens - len(found.tokens))
        return Aligned(source.tokens, target, found.attention)
    written = [*_tokens(place, best.level, target_text), EOS]
    if written.index(EOS) < len(written) - 1:
        raise InputError(place, f"has {EOS} in its target", "take it out")
    target_line = encode_line(place, written, best.vocabulary)
    return Aligned(source.tokens, written, translator.attend(source, target_line))


def _tokens(place: str, level: str, line: str) -> list[str]:
    return next(text_lines(string_text(place, level, line)))


def _draw(figure_class: type[Any], pair: Aligned) -> Any:
    height, width = pair.attention.shape
    sides = (min(2 + INCHES * width, MOST_INCHES), min(1 + INCHES * height, MOST_INCHES))
    figure = figure_class(sides, layout="constrained")
    axes = figure.subplots()
    axes.imshow(pair.attention, cmap="Greys", vmin=0, vmax=1)
    # A token may hold "$", which would begin a formula.
    axes.set_xticks(range(width), pair.source, rotation=90, parse_math=False)
    axes.set_yticks(range(height), pair.target, parse_math=False)
    axes.xaxis.tick_top()
    return figure
