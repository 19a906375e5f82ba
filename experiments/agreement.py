"""What models of one size learn of a grammar that is known: beside its exact bound.

    python experiments/agreement.py --workdir=DIR

Trains each model of agreement_recipe.py on 2 million tokens of the built-in corpus's grammar, which
it reads once, with several seeds. Each then reads --sentences new ones as one text. Its excess is
its loss less what the source itself says of that text, in nats a token: 0 is perfect. A site is
right if the word that agrees is more probable than each form that does not (agreement_sites.py).
Verbs tell number from number; reflexives, possessives and pronouns need the gender too, of which
number alone gives 55 %. What has been run and counted is not done again. Writes results.jsonl, a
line for each run, and from it table.md and, with matplotlib, accuracy.png.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import jax
import numpy as np

from awd_jax.data.grammar import tokens_per_sentence
from awd_jax.data.synthetic import english_grammar
from awd_jax.models.contract import LanguageModel
from awd_jax.tasks.model_file import BestModel, load_own_model
from experiments import command
from experiments.agreement_recipe import NAMES
from experiments.agreement_sites import AGREEING, Sentence, sample_sentences
from experiments.arguments import at_least, some_of
from experiments.logs import add_result, read_results
from experiments.pictures import pyplot
from experiments.tables import leave_table, markdown, spread

OUT = Path(__file__).parent / "agreement"
TOKENS = {"train": 2_000_000, "valid": 20_000, "test": 20_000}
LENGTH, BATCH = 70, 100  # of a window that is scored
DEEPEST = 3  # sites that are deeper count as these
KINDS = tuple(dict.fromkeys(AGREEING.values()))


class Text(NamedTuple):
    """Sentences as a batch of streams, each of which begins after an `<eos>`."""

    inputs: np.ndarray  # [T, B]
    targets: np.ndarray  # [T, B]; -1 where a stream has ended
    sites: list[tuple[str, int, int, list[int]]]  # kind and depth, t * B + b, ids of other forms
    log_prob: float  # by the source, in nats


def write_corpus(directory: Path) -> None:
    """Writes the three splits."""
    grammar = english_grammar()
    directory.mkdir(parents=True, exist_ok=True)
    for index, (split, num_tokens) in enumerate(TOKENS.items()):
        num = round(num_tokens / tokens_per_sentence(grammar))
        sentences = sample_sentences(grammar, num, [index])
        text = "".join(" ".join(s.words) + "\n" for s in sentences)
        (directory / f"{split}.txt").write_text(text, encoding="utf-8")


def lay_out(sentences: list[Sentence], best: BestModel) -> Text:
    """Deals the sentences out to the streams in turn."""
    ids, eos = best.vocabulary.ids, best.vocabulary.eos_id
    streams: list[list[int]] = [[eos] for _ in range(BATCH)]
    sites = []
    for index, sentence in enumerate(sentences):
        stream = streams[index % BATCH]
        for site in sentence.sites:
            at = (len(stream) - 1 + site.position) * BATCH + index % BATCH
            others = [ids[word] for word in site.others]
            sites.append((site.kind, min(site.depth, DEEPEST), at, others))
        stream += [*(ids[word] for word in sentence.words), eos]
    num_windows = -(-(max(map(len, streams)) - 1) // LENGTH)
    tokens = np.full((num_windows * LENGTH + 1, BATCH), -1, np.int32)
    for column, stream in enumerate(streams):
        tokens[: len(stream), column] = stream
    return Text(np.maximum(tokens[:-1], 0), tokens[1:], sites, sum(s.log_prob for s in sentences))


def read_along(best: BestModel, text: Text) -> Iterator[np.ndarray]:
    """The log-probabilities of all tokens, [LENGTH, B, V], window by window."""
    log_probs = jax.jit(best.model.log_probs)
    carry = best.model.initial_carry(BATCH)
    for start in range(0, len(text.inputs), LENGTH):
        found, carry = log_probs(best.params, text.inputs[start : start + LENGTH], carry)
        yield np.asarray(found)


def examine(workdir: Path, sentences: list[Sentence]) -> dict[str, Any]:
    """Excess, and [right, all] sites of each kind and depth."""
    best = load_own_model(workdir, LanguageModel)
    text = lay_out(sentences, best)
    by_window = defaultdict(list)
    for kind, depth, at, others in text.sites:
        window, within = divmod(at, LENGTH * BATCH)
        by_window[window].append((kind, depth, within, others))
    nll = 0.0
    counts = {kind: [[0, 0] for _ in range(DEEPEST + 1)] for kind in KINDS}
    for window, log_probs in enumerate(read_along(best, text)):
        flat = log_probs.reshape(LENGTH * BATCH, -1)
        targets = text.targets[window * LENGTH : (window + 1) * LENGTH].ravel()
        (real,) = np.nonzero(targets >= 0)
        nll -= flat[real, targets[real]].sum(dtype=float)
        for kind, depth, within, others in by_window[window]:
            row = flat[within]
            counts[kind][depth][0] += bool(row[targets[within]] > row[others].max())
            counts[kind][depth][1] += 1
    num_tokens = int((text.targets >= 0).sum())
    return {
        "parameters": sum(p.size for p in jax.tree.leaves(best.params)),
        "nll": nll / num_tokens,
        "source_nll": -text.log_prob / num_tokens,
        "sites": counts,
    }


def accuracy(runs: list[dict], kind: str, depth: int) -> float:
    """Percent, mean over the runs."""
    pairs = [run["sites"][kind][depth] for run in runs]
    return 100 * mean(right / number for right, number in pairs)


def by_model(results: list[dict]) -> dict[str, list[dict]]:
    """The runs of each model, from the smallest excess on."""
    groups = {name: [r for r in results if r["model"] == name] for name in NAMES}
    return dict(
        sorted(
            ((name, runs) for name, runs in groups.items() if runs),
            key=lambda item: mean(map(excess, item[1])),
        )
    )


def excess(run: dict) -> float:
    """Nats a token above the source."""
    return run["nll"] - run["source_nll"]


def gender(run: dict) -> float:
    """Percent of right reflexives, possessives and pronouns, at any depth."""
    pairs = [pair for kind, depths in run["sites"].items() if kind != "verb" for pair in depths]
    right, number = map(sum, zip(*pairs, strict=True))
    return 100 * right / number


def make_table(results: list[dict]) -> str:
    """A row for each model: of verbs the mean over seeds, of gender each seed, as it is sudden."""
    depths = [*map(str, range(DEEPEST)), f"{DEEPEST}+"]
    verbs = (f"verb, depth {depth}" for depth in depths)
    columns = ["model", "parameters", "excess", *verbs, "gender, by seed"]
    rows = []
    for name, runs in by_model(results).items():
        cells = [name, f"{runs[0]['parameters']:,}", spread(map(excess, runs), digits=4)]
        cells += [f"{accuracy(runs, 'verb', depth):.1f}" for depth in range(DEEPEST + 1)]
        rows.append([*cells, ", ".join(f"{gender(run):.1f}" for run in runs)])
    return markdown(columns, rows)


def draw(results: list[dict], path: Path) -> None:
    """Draws wrong answers by depth, a panel for each kind: means, and thin lines of each seed."""
    figure, panels = pyplot().subplots(1, len(KINDS), figsize=(13, 4), layout="constrained")
    depths = range(DEEPEST + 1)
    for kind, axes in zip(KINDS, panels, strict=True):
        for number, (name, runs) in enumerate(by_model(results).items()):
            lines = [(runs, {"marker": "o", "label": name})]
            lines += [([run], {"linewidth": 0.7, "alpha": 0.5}) for run in runs]
            for of, style in lines:
                wrong = [100 - accuracy(of, kind, depth) for depth in depths]
                axes.plot(depths, wrong, color=f"C{number}", **style)
        axes.set(title=kind, xlabel="depth", xticks=[*depths])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="wrong, percent")
    panels[0].legend()
    figure.savefig(path, dpi=100)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--models", type=some_of(*NAMES), default=NAMES)
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--sentences", type=at_least(BATCH), default=50_000)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(argv)


def write(out: Path) -> None:
    """Writes the table and the picture of the results in a directory."""
    results = read_results(out)
    leave_table(out, make_table(results))
    draw(results, out / "accuracy.png")


def main(options: argparse.Namespace) -> None:
    """Runs and counts what is missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = (options.workdir / "corpus").absolute()
    if not (corpus / "test.txt").exists():
        write_corpus(corpus)
    done = {(result["model"], result["seed"]) for result in read_results(options.out)}
    sentences = sample_sentences(english_grammar(), options.sentences, [len(TOKENS)])
    for seed in range(options.seeds):
        for name in options.models:
            if (name, seed) in done:
                continue
            workdir = options.workdir / f"{name}-{seed}"
            if not (workdir / "result.json").exists():
                flags = (f"--config.data.dir={corpus}", f"--config.train.seed={seed}")
                command.run(f"experiments/agreement_recipe.py:{name}", "train", workdir, *flags)
            found = examine(workdir, sentences)
            add_result(options.out, {"model": name, "seed": seed} | found)
    write(options.out)


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
