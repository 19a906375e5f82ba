"""Measures how a corpus of WikiText-103's size is read, without a cache and with one.

    python experiments/large_corpus.py DIR

Writes a text of random words to DIR, of frequencies as in a natural one (Zipf) and with every kind
in it; then reads it in a fresh process each: without a cache, with an empty one, and again. Peak
memory is that of the whole process, its libraries included; seconds of the CPU are those it would
take on a core of its own.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from awd_jax.data.corpus import load_corpus
from experiments.arguments import at_least
from experiments.memory import peak_mib

CHUNK = 1 << 20
SPLITS = {"train": 1.0, "valid": 0.002, "test": 0.002}  # tokens, as a share of those of train
LETTERS = "etaoin"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="for the text and the cache")
    parser.add_argument("--tokens", type=at_least(100_000), default=100_000_000, help="of train")
    parser.add_argument("--kinds", type=at_least(100), default=267_735, help="<eos> included")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--read", choices=("", "cache"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def words() -> Iterator[str]:
    """Words of 1 letter, of 2 letters, and so on."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(LETTERS, repeat=length))


def write_text(path: Path, num_tokens: int, num_kinds: int, random: np.random.RandomState) -> None:
    """Writes lines of some 25 to 100 tokens; every kind occurs in a text twice as long or more."""
    # The last is the end of a line, which is read as <eos>.
    kinds = [b"<unk>", *(w.encode() for w in itertools.islice(words(), num_kinds - 2)), b"\n"]
    distribution = np.cumsum(1 / (np.arange(num_kinds - 1) + 2.7))
    distribution /= distribution[-1]
    with path.open("wb") as file:
        for start in range(0, num_tokens, CHUNK):
            size = min(CHUNK, num_tokens - start)
            ids = np.searchsorted(distribution, random.random_sample(size))
            ends = np.cumsum(random.randint(25, 101, size // 25)) - 1
            ids[ends[ends < size]] = num_kinds - 1
            # Every kind once, spread evenly over the text.
            first, last = (-(-n * num_kinds // num_tokens) for n in (start, start + size))
            own = np.arange(first, last)
            ids[np.minimum(own * num_tokens // num_kinds - start, size - 2)] = own
            ids[-1] = num_kinds - 1
            file.write(b" ".join(map(kinds.__getitem__, ids.tolist())))


def read(directory: Path, cache_dir: str) -> None:
    """Reads the corpus once, and prints what that took as JSON."""
    started, started_cpu = time.perf_counter(), time.process_time()
    corpus = load_corpus("text", str(directory), "word", "train", 0, cache_dir)
    ids = (corpus.train, corpus.valid, corpus.test)
    tokens, numbers = corpus.vocabulary.tokens, corpus.vocabulary.ids
    result = {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - started_cpu,
        "peak": peak_mib(),
        "tokens": sum(map(len, ids)),
        "kinds": len(tokens),
        "ids": sum(a.nbytes for a in ids) / 2**20,
        "vocabulary": sum(map(sys.getsizeof, (tokens, numbers, *tokens))) / 2**20,
    }
    print(json.dumps(result))


def measure(options: argparse.Namespace, name: str, cache: str) -> None:
    """Reads in a fresh process, and prints a line."""
    command = [sys.executable, __file__, str(options.directory), f"--read={cache}"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    r = json.loads(result.stdout)
    if cache == "":
        print(
            f"{r['tokens']:,} tokens of {r['kinds']:,} kinds: ids {r['ids']:.0f} MiB, vocabulary "
            f"{r['vocabulary']:.0f} MiB; bound {3 * (r['ids'] + r['vocabulary']):.0f} MiB"
        )
    rate = r["tokens"] / r["seconds"] * 60e-6
    print(
        f"{name}: {r['seconds']:.1f} s (CPU {r['cpu']:.1f} s), {rate:.0f} million tokens a minute, "
        f"peak {r['peak']:.0f} MiB",
        flush=True,
    )


def main(options: argparse.Namespace) -> None:
    """The command."""
    if options.read is not None:
        cache_dir = str(options.directory / options.read) if options.read else ""
        read(options.directory, cache_dir)
        return
    options.directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(options.directory / "cache", ignore_errors=True)
    random = np.random.RandomState(options.seed)
    for split, share in SPLITS.items():
        path = options.directory / f"{split}.txt"
        write_text(path, round(share * options.tokens), options.kinds, random)
        print(f"{path.name}: {path.stat().st_size / 2**20:.0f} MiB", flush=True)
    measure(options, "without a cache", "")
    measure(options, "with an empty cache", "cache")
    measure(options, "with the cache", "cache")


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
