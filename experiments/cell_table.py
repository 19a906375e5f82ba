"""Times a training step of every cell under every head, at the sizes of ptb_small.py.

    python experiments/cell_table.py

Each pair has a fresh process in each of the rounds, one after the other, so that all see the same
load: windows of 70 tokens in 20 sequences, V = 10,000, ids that follow Zipf's law. Prints a table
in Markdown: parameters, median milliseconds of a step, and the most memory that the process had
resident.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least, some_of
from experiments.large_vocabulary import before_first_step
from experiments.memory import peak_mib

CELLS = {
    "lstm": {},
    "gru": {},
    "rnn": {},
    "qrnn": {"filter_width": 2},
    "mogrifier": {"mogrifier_rounds": 5, "mogrifier_rank": 24, "cap_input_gate": True},
}
HEADS = {
    "tied": {},
    "mixture": {"num_components": 5, "latent_dropout_rate": 0.15},
    "adaptive": {"cutoffs": (2_000, 5_000)},
}
VOCAB_SIZE = 10_000


def work(cell: str, head: str, steps: int) -> dict[str, float]:
    """What one process measures."""
    import jax

    from awd_jax.recipe import check
    from configs import ptb_small

    config = ptb_small.get_config()
    config.model.update(cell=cell, softmax=head, **CELLS[cell], **HEADS[head])
    check(config)
    learner, state, plan = before_first_step(config, VOCAB_SIZE)
    state = jax.block_until_ready(learner.step(state, plan, 0, epoch=1))
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        state = jax.block_until_ready(learner.step(state, plan, 0, epoch=1))
        seconds.append(time.perf_counter() - started)
    num_params = sum(p.size for p in jax.tree.leaves(state.params))
    return {"ms": 1000 * statistics.median(seconds), "mib": peak_mib(), "params": num_params}


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--steps", type=at_least(1), default=8)
    parser.add_argument("--cells", type=some_of(*CELLS), default=list(CELLS))
    parser.add_argument("--heads", type=some_of(*HEADS), default=list(HEADS))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Prints the table."""
    options = parse_arguments(argv)
    if options.work:
        print(json.dumps(work(*options.work, options.steps)))
        return
    pairs = [(cell, head) for cell in options.cells for head in options.heads]
    answers: dict[tuple[str, str], list[dict[str, float]]] = {pair: [] for pair in pairs}
    for _ in range(options.rounds):
        for pair in pairs:
            command = [sys.executable, __file__, f"--steps={options.steps}", "--work", *pair]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            answers[pair].append(json.loads(answer.splitlines()[-1]))
    print("| cell | softmax | parameters | ms a step | peak MiB |\n|---|---|---|---|---|")
    for (cell, head), rounds in answers.items():
        ms, mib = (statistics.median(r[name] for r in rounds) for name in ("ms", "mib"))
        print(f"| {cell} | {head} | {rounds[0]['params']:,} | {ms:.0f} | {mib:,.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
