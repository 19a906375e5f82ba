"""Generates text with a trained model: by sampling, greedily, or by beam search."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.data.spelling import Speller, spell
from awd_jax.data.text import Text, text_lines
from awd_jax.data.vocabulary import EOS, UNK
from awd_jax.errors import InputError
from awd_jax.tasks.decoding import Tokens, cut_at, draw_samples, search_beams
from awd_jax.tasks.model_file import BestModel, check_forward, load_best_model
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.table import with_bar


class Drawn(NamedTuple):
    """The continuations of the prompt."""

    tokens: Int32[np.ndarray, "B T"]
    log_probs: list[float] | None  # of each text, in nats; None if sampled or greedy
    num_tokens: int  # drawn for all texts, discarded beams included
    seconds: float  # without compilation


def generate(config: ConfigDict, workdir: Path) -> None:
    """Generates texts; prints them, the first while it is drawn, and writes generate.json.

    Each text is the prompt and its continuation; lines of `---` separate several texts. The
    history before the prompt is the end of a line.

    Raises:
      InputError: there is no such model, it reads backward, the prompt has a token outside a
        vocabulary without `<unk>`, or more texts are asked for than the method can give.
    """
    _check_number(config.generate)
    best = load_best_model(config, workdir)
    check_forward(best)
    prompt = _encode_prompt(config.generate.prompt, best)
    draw = _search if config.generate.method == "beam" else _sample
    with output.open_output(None) as out:
        speller = Speller(best.level)

        def show(tokens: Tokens) -> None:
            out.write("".join(map(speller.spell, best.vocabulary.decode(tokens))))
            out.flush()

        show(prompt[1:])
        drawn = draw(config.generate, best, prompt, show)
        texts = []
        for tokens in drawn.tokens:
            whole = np.concatenate([prompt[1:], _shorten(config.generate, best, tokens)])
            texts.append(spell(best.vocabulary.decode(whole), best.level))
        out.write("\n")
        for text in texts[1:]:
            out.write(f"---\n{text}\n")
    result = {
        **config.generate.to_dict(),
        "step": best.step,
        "texts": texts,
        "log_probs": drawn.log_probs,
        "seconds": drawn.seconds,
        "tokens_per_second": drawn.num_tokens / drawn.seconds,
    }
    leave_json(workdir, "generate", result)
    if len(texts) < config.generate.num_samples:
        output.note(f"{len(texts)} of {config.generate.num_samples} texts: there are no more")
    output.note(f"{result['tokens_per_second']:,.0f} tokens per second")


def _check_number(config: ConfigDict) -> None:
    most = {"sample": config.num_samples, "greedy": 1, "beam": config.beam_size}[config.method]
    if config.num_samples > most:
        raise InputError(
            f"config.generate.num_samples = {config.num_samples}",
            f"must be at most {most} with method {config.method}",
            "ask for fewer" + ", or raise --config.generate.beam_size" * (config.method == "beam"),
        )


def _encode_prompt(prompt: str, best: BestModel) -> Tokens:
    """Returns the ids of the prompt, after the `<eos>` of a previous line."""
    # The bytes that the shell gave, including those that are not UTF-8.
    raw = prompt.encode(errors="surrogateescape") + b"\n"
    tokens: list[str] = []
    for line in text_lines(Text("config.generate.prompt", best.level, lambda: iter([raw]))):
        tokens += [EOS, *line]
    ids = best.vocabulary.encode(tokens)
    for token in dict.fromkeys(tokens):
        if token not in best.vocabulary.ids:
            output.note(f"{token!r} is not in the vocabulary: read as {UNK}")
    return ids


def _shorten(config: ConfigDict, best: BestModel, tokens: Tokens) -> Int32[np.ndarray, "M"]:
    return cut_at(best.vocabulary.eos_id, tokens) if config.until_eos else tokens


def _sample(
    config: ConfigDict, best: BestModel, prompt: Tokens, show: Callable[[Tokens], None]
) -> Drawn:
    steps = draw_samples(config, best, prompt)
    drawn = []
    has_ended = np.zeros(config.num_samples, bool)
    started = time.perf_counter()
    for tokens in with_bar(steps, config.num_tokens, "token", output=""):
        drawn.append(tokens)
        if config.until_eos:
            has_ended |= tokens == best.vocabulary.eos_id
        if not has_ended[0]:
            show(tokens[:1])
        if has_ended.all():
            break
    seconds = time.perf_counter() - started
    return Drawn(np.stack(drawn, axis=1), None, len(drawn) * config.num_samples, seconds)


def _search(
    config: ConfigDict, best: BestModel, prompt: Tokens, show: Callable[[Tokens], None]
) -> Drawn:
    steps = search_beams(config, best, prompt)
    started = time.perf_counter()
    for beams in with_bar(steps, config.num_tokens, "token", output=""):
        if np.asarray(beams.is_ended).all():
            break
    seconds = time.perf_counter() - started
    num_steps = int(beams.num_drawn)
    log_probs = np.asarray(beams.log_probs)[: config.num_samples]
    is_text = log_probs > -np.inf  # -inf marks an unused or impossible beam
    tokens = np.asarray(beams.tokens)[: config.num_samples, :num_steps][is_text]
    show(_shorten(config, best, tokens[0]))
    return Drawn(tokens, log_probs[is_text].tolist(), num_steps * len(beams.tokens), seconds)
