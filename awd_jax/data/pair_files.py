"""Files of pairs of lines, and what may be wrong with a line.

A split is `train.tsv`, with a source, a tab and a target a line, or else `train.source` and
`train.target`, line by line. They are UTF-8 at every level, a byte order mark is dropped, and only
"\\n" and "\\r\\n" end a line. Empty lines at the end are no lines.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from awd_jax.data.text import file_text, lines_tokens
from awd_jax.data.vocabulary import EOS
from awd_jax.errors import InputError
from awd_jax.files import decode, without_mark

SIDES = ("source", "target")


class Table(NamedTuple):
    """The lines of a split, cut into fields: a source and a target, if nothing is wrong."""

    names: tuple[str, str]  # where sources and targets are from, for errors
    rows: list[tuple[str, ...]]


class Rules(NamedTuple):
    """What is asked of a line, besides that it is a pair of sides which are not blank."""

    levels: tuple[str, str]  # of sources and targets: word, char or byte
    max_length: int  # tokens of a side; 0: any
    is_skipping: bool  # lines with a fault are left out, not refused


class Fault(NamedTuple):
    """What a line has that it must not have."""

    what: str
    side: int  # of which file
    fix: str


def read_table(directory: Path, split: str) -> Table:
    """Reads the lines of a split.

    Raises:
      InputError: a file is missing, unreadable, empty, not a regular file or not UTF-8, or the two
        files have different numbers of lines.
    """
    both = directory / f"{split}.tsv"
    sides = tuple(directory / f"{split}.{side}" for side in SIDES)
    if both.exists():
        names = (str(both), str(both))
        rows = [tuple(line.split("\t")) for line in _lines(both)]
    else:
        if not all(path.exists() for path in sides):
            raise InputError(
                f"directory {directory}",
                f"lacks the pairs of {split}",
                f"put {both.name}, or {sides[0].name} and {sides[1].name}, there",
            )
        names = (str(sides[0]), str(sides[1]))
        sources, targets = map(_lines, sides)
        if len(sources) != len(targets):
            raise InputError(
                " and ".join(names),
                f"have {len(sources):,} and {len(targets):,} lines",
                "give files whose lines are pairs",
            )
        rows = list(zip(sources, targets, strict=True))
    return Table(names, rows)


def sound_pairs(table: Table, rules: Rules) -> tuple[list[tuple[str, str]], Counter[str]]:
    """Returns the pairs of a table, and how many of its lines were skipped for each fault.

    Raises:
      InputError: a line has a fault, unless such lines are skipped; or no pair is left.
    """
    pairs: list[tuple[str, str]] = []
    skipped: Counter[str] = Counter()
    for number, fields in enumerate(table.rows, 1):
        fault = _find_fault(fields, rules)
        if fault is None:
            pairs.append((fields[0], fields[1]))
        elif rules.is_skipping:
            skipped[fault.what] += 1
        else:
            raise InputError(
                f"{table.names[fault.side]}, line {number}",
                f"has {fault.what}",
                f"{fault.fix}, or skip such lines with --config.data.faults=skip",
            )
    if not pairs:
        raise InputError(
            " and ".join(dict.fromkeys(table.names)),
            f"has no pair left ({count_faults(skipped)})" if skipped else "has no pairs",
            "give at least one line with a source and a target",
        )
    return pairs, skipped


def count_faults(skipped: Counter[str]) -> str:
    """Says how many lines have each fault."""
    return ", ".join(f"{num:,} with {what}" for what, num in skipped.items())


def _find_fault(fields: tuple[str, ...], rules: Rules) -> Fault | None:
    if len(fields) != 2:
        what = "no tab" if len(fields) < 2 else "more than one tab"
        return Fault(what, 0, "make it a source, a tab and a target")
    for side, (field, level) in enumerate(zip(fields, rules.levels, strict=True)):
        if not field.strip():
            return Fault(f"a blank {SIDES[side]}", side, "complete the pair")
        if EOS in field and EOS in lines_tokens([field], level)[:-1]:
            return Fault(f"{EOS} in its {SIDES[side]}", side, "remove it: every line has its own")
        if 0 < rules.max_length < len(lines_tokens([field], level)) - 1:
            what = f"a {SIDES[side]} of more than {rules.max_length:,} tokens"
            return Fault(what, side, "raise --config.data.max_length")
    return None


def _lines(path: Path) -> list[str]:
    raw = b"".join(file_text(path, "byte").blocks())
    # Not splitlines(): it also ends lines at form feeds, U+2028 and others.
    lines = without_mark(decode(str(path), raw, 1)).removesuffix("\n").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines
