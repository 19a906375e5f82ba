import datetime
import functools
import hashlib
from collections import Counter

import numpy as np
import pytest

from awd_jax.data.exercises import EXERCISES, FIRST_DAY, LAST_DAY, new_sums
from awd_jax.errors import InputError

LETTERS = ("reverse", "copy", "sort")


@functools.cache
def exercise(name):
    return EXERCISES[name](0)


@functools.cache
def first_sums():
    return new_sums(np.random.RandomState(1), 50_000)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("addition", "b74c7f648823f7a6"),
        ("dates", "54b1e1eb03c729b6"),
        ("dates_by_date", "f2336c2fe1f3a6b5"),
        ("reverse", "3ff6220f020e1a12"),
        ("copy", "09816bb0d584dd84"),
        ("sort", "0f5693ba37e7d99a"),
    ],
)
def test_the_streams_are_frozen(name, digest):
    """A seed must give the same pairs in every version."""
    assert hashlib.sha256(repr(tuple(exercise(name))).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", EXERCISES)
def test_sizes_and_seeds(name):
    sizes = [len(lines) for lines in exercise(name)]
    assert sizes == ([50_000, 2_000, 2_000] if name in LETTERS else [45_000, 5_000, 5_000])
    assert EXERCISES[name](1).test[:20] != exercise(name).test[:20]
    with pytest.raises(InputError, match="seed -1"):
        EXERCISES[name](-1)


# ---- addition ----


def test_sums_are_right():
    for lines in exercise("addition"):
        for source, target in lines:
            a, b = map(int, source.split("+"))
            assert source == f"{a}+{b}" and target == str(a + b)


def test_no_sum_occurs_twice_whatever_its_order():
    keys = [
        tuple(sorted(source.split("+"))) for lines in exercise("addition") for source, _ in lines
    ]
    assert len(set(keys)) == len(keys) == 55_000


def test_sums_have_the_published_distribution():
    numbers, draws = first_sums()
    assert abs(draws[-1] + 1 - 141_000) < 3_000
    digits = Counter(tuple(len(str(n)) for n in pair) for pair in numbers.tolist())
    assert digits[1, 1] == 55  # all there are
    assert abs(digits[2, 2] - 3_990) < 60
    for pair, count in (((3, 3), 12_550), ((2, 3), 11_850), ((3, 2), 11_850)):
        assert abs(digits[pair] - count) < 400
    digits = Counter(len(str(a + b)) for a, b in numbers.tolist())
    for num, count, slack in ((1, 30, 1), (2, 2_480, 60), (3, 38_400, 300), (4, 9_080, 300)):
        assert abs(digits[num] - count) < slack


def test_the_small_sums_are_in_train_and_test_and_not_in_valid():
    def small(lines):
        return sum(len(source) == 3 for source, _ in lines)

    train, valid, test = map(small, exercise("addition"))
    assert (train + test, valid) == (55, 0)
    assert test > 0  # they are shuffled, not the first


# ---- dates ----


def readings(source):
    """The styles that a source may be written in, each with the date that it then says."""
    for style in ("%m/%d/%y", "%b %d, %Y", "%B %d, %Y", "%A, %B %d, %Y"):
        try:
            date = datetime.datetime.strptime(source, style).date()
        except ValueError:
            continue
        if style[1] != "A" or date.strftime("%A").lower() == source.split(",")[0].lower():
            yield style, date


@pytest.mark.parametrize("name", ["dates", "dates_by_date"])
def test_dates_say_their_targets(name):
    """Read back by the standard library, in the locale of C that tests run in."""
    styles, cases = Counter(), Counter()
    for source, target in exercise(name).train[:4_000]:
        found = list(readings(source))
        assert {date.isoformat() for _, date in found} == {target}, source
        assert source.lstrip("0") == source and " 0" not in source  # no leading zeros
        styles[found[-1][0]] += 1
        assert source in (source.upper(), source.lower(), source.title())
        if "/" not in source:
            cases["upper" if source.isupper() else "lower" if source.islower() else "title"] += 1
    assert abs(styles["%m/%d/%y"] - 1_000) < 120 and abs(styles["%A, %B %d, %Y"] - 1_000) < 120
    assert [round(4 * cases[c] / cases.total(), 1) for c in ("title", "upper", "lower")] == (
        pytest.approx([2, 1, 1], abs=0.15)
    )


def test_dates_reach_from_the_first_day_to_the_last():
    days = [target for lines in exercise("dates") for _, target in lines]
    assert FIRST_DAY.isoformat() <= min(days) < "1970-01-10"
    assert LAST_DAY.isoformat() >= max(days) > "2017-07-15"


def test_dates_have_the_published_symbols_and_repetitions():
    train, _, test = exercise("dates")
    lines = train + test
    symbols = {char for line in lines for side in line for char in side} | {"_"}
    assert len(symbols) == 59
    assert abs(len({source for source, _ in lines}) - 41_578) < 200


def leak(name, side):
    """The share of test whose source (side 0) or target (side 1) is in train."""
    train, _, test = exercise(name)
    seen = {line[side] for line in train}
    return sum(line[side] in seen for line in test) / len(test)


def test_a_random_split_of_dates_leaks_and_one_by_date_does_not():
    assert abs(leak("dates", 0) - 0.28) < 0.02
    assert abs(leak("dates", 1) - 0.93) < 0.01
    train, valid, test = (
        ({source for source, _ in lines}, {target for _, target in lines})
        for lines in exercise("dates_by_date")
    )
    for a, b in ((train, valid), (train, test), (valid, test)):
        assert not a[0] & b[0] and not a[1] & b[1]
    assert [len(days) for _, days in (valid, test)] == pytest.approx([1_637, 1_637], abs=60)


# ---- letters ----


@pytest.mark.parametrize("name", LETTERS)
def test_letters_are_changed_as_the_name_says(name):
    change = {"reverse": reversed, "copy": list, "sort": sorted}[name]
    for lines in exercise(name):
        for source, target in lines:
            assert source.isascii() and source.islower() and source.isalpha()
            assert target == "".join(change(source))


def test_lengths_of_letters():
    train, valid, test = ([len(s) for s, _ in lines] for lines in exercise("reverse"))
    counts = Counter(train)
    assert set(counts) == set(range(1, 21)) == set(valid)
    assert all(abs(count - 2_500) < 250 for count in counts.values())
    assert set(test) == {20}


def test_letters_are_uniform_and_splits_differ():
    train, valid, test = exercise("copy")
    counts = Counter("".join(source for source, _ in train))
    assert len(counts) == 26
    assert max(counts.values()) < 1.05 * min(counts.values())
    long = [{source for source, _ in lines if len(source) > 8} for lines in (train, valid, test)]
    assert not long[0] & long[1] and not long[0] & long[2]
