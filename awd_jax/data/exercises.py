"""Pairs that are generated: exercises for models from sequence to sequence.

Each is a source and its target as strings, to be read by character. `addition` and `dates` are
those of "Deep Learning from Scratch 2" (without its padding and its "_"), in their distributions.

| exercise | source | target | train / valid / test |
|---|---|---|---|
| addition | 57+5 | 62 | 45,000 / 5,000 / 5,000, each sum once |
| dates | Sep 27, 1994 | 1994-09-27 | as many, of which some are in train too |
| dates_by_date | the same | the same | as many, no day of a split in another |
| reverse, copy, sort | baca | acab, baca, aabc | 50,000 / 2,000 / 2,000, test longest only |
"""

import datetime
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from awd_jax.data.streams import stream

Lines = list[tuple[str, str]]  # a source and its target each

SIZES = (45_000, 5_000, 5_000)  # train, valid, test of addition and dates
LETTER_SIZES = (50_000, 2_000, 2_000)
LONGEST = 20  # letters
FIRST_DAY, LAST_DAY = datetime.date(1970, 1, 1), datetime.date(2017, 7, 24)
_DRAWS = 1 << 18  # of two numbers, about 75,000 of which are new: 55,000 are wanted

# Not strftime, whose names follow the locale.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CASES: tuple[Callable[[str], str], ...] = (str, str, str.upper, str.lower)


class Exercise(NamedTuple):
    """The splits of an exercise."""

    train: Lines
    valid: Lines
    test: Lines


class Sums(NamedTuple):
    """Two numbers each, no two of them the same up to their order, and when they were drawn."""

    numbers: Int[np.ndarray, "N 2"]
    draws: Int[np.ndarray, "N"]  # from 0 on; rising


def new_sums(random: np.random.RandomState, count: int) -> Sums:
    """Returns the first `count` of drawn sums that are new.

    A number has 1, 2 or 3 digits with equal probability; each is uniform, leading zeros vanish.
    """
    digits = random.randint(1, 4, size=(_DRAWS, 2))
    numbers = random.randint(1000, size=(_DRAWS, 2)) % 10**digits
    _, first = np.unique(np.sort(numbers, axis=1) @ [1000, 1], return_index=True)
    draws = np.sort(first)[:count]
    return Sums(numbers[draws], draws)


def _addition(seed: int) -> Exercise:
    random = stream(seed)
    num_train, num_valid, num_test = SIZES
    numbers = new_sums(random, sum(SIZES)).numbers
    first = num_train + num_test  # valid is drawn after them
    shuffled = np.concatenate([numbers[:first][random.permutation(first)], numbers[first:]])
    lines = [(f"{a}+{b}", str(a + b)) for a, b in shuffled.tolist()]
    return Exercise(lines[:num_train], lines[-num_valid:], lines[num_train:first])


def _dates(seed: int) -> Exercise:
    random = stream(seed)
    return Exercise(*(_date_lines(random, np.arange(_num_days()), size) for size in SIZES))


def _dates_by_date(seed: int) -> Exercise:
    random = stream(seed)
    days = random.permutation(_num_days())
    tenth = len(days) // 10
    own = (days[2 * tenth :], days[:tenth], days[tenth : 2 * tenth])
    return Exercise(*(_date_lines(random, d, n) for d, n in zip(own, SIZES, strict=True)))


def _date_lines(random: np.random.RandomState, days: Int[np.ndarray, "_"], count: int) -> Lines:
    """Returns lines with dates among some days, which are counted from the first."""
    drawn = days[random.randint(len(days), size=count)].tolist()
    styles = random.randint(4, size=count).tolist()
    cases = random.randint(4, size=count).tolist()
    dates = [FIRST_DAY + datetime.timedelta(day) for day in drawn]
    return [
        (_CASES[case](_written(date, style)), date.isoformat())
        for date, style, case in zip(dates, styles, cases, strict=True)
    ]


def _written(date: datetime.date, style: int) -> str:
    """Returns a date in one of four styles, from the shortest to the longest."""
    if style == 0:
        return f"{date.month}/{date.day}/{date.year % 100:02}"
    month = _MONTHS[date.month - 1]
    text = f"{month[:3] if style == 1 else month} {date.day}, {date.year}"
    return f"{_WEEKDAYS[date.weekday()]}, {text}" if style == 3 else text


def _num_days() -> int:
    return (LAST_DAY - FIRST_DAY).days + 1


def _letters(change: Callable[[str], str], seed: int) -> Exercise:
    """Returns random lower-case letters, changed: short and long ones in all but test."""
    random = stream(seed)
    splits = []
    for size, shortest in zip(LETTER_SIZES, (1, 1, LONGEST), strict=True):
        lengths = random.randint(shortest, LONGEST + 1, size=size).tolist()
        rows = random.randint(ord("a"), ord("z") + 1, size=(size, LONGEST)).astype(np.uint8)
        sources = [bytes(r[:n]).decode() for r, n in zip(rows, lengths, strict=True)]
        splits.append([(source, change(source)) for source in sources])
    return Exercise(*splits)


EXERCISES: dict[str, Callable[[int], Exercise]] = {
    "addition": _addition,
    "dates": _dates,
    "dates_by_date": _dates_by_date,
    "reverse": lambda seed: _letters(lambda source: source[::-1], seed),
    "copy": lambda seed: _letters(str, seed),
    "sort": lambda seed: _letters(lambda source: "".join(sorted(source)), seed),
}
