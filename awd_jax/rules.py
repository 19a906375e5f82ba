"""Kinds of rules that config fields follow."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from awd_jax.files import PATH_RULE, is_local


class Rule(NamedTuple):
    """A condition on a value, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


SMALLEST, LARGEST = 1.1754944e-38, 3.4028234e38  # float32's normal numbers


def is_int(value: Any) -> bool:
    """Returns whether it is a whole number, which True and False are not here."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Returns whether float32, in which programs compute, can hold it without overflow or 0."""
    if not (is_int(value) or isinstance(value, float)):
        return False
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def one_of(*choices: str) -> Rule:
    """Returns the rule of a field that is one of a few words."""
    return Rule("must be one of " + ", ".join(choices), lambda v: v in choices)


TEXT = Rule("must be a string", lambda v: isinstance(v, str))
FLAG = Rule("must be True or False", lambda v: isinstance(v, bool))


def _is_below_1(value: Any) -> bool:
    """Returns whether it is in [0, 1), also in float32, where 1 - 1e-9 would be 1."""
    return is_number(value) and 0 <= value < 1 and bool(np.float32(value) < 1)


RATE = Rule("must be a drop probability in [0, 1), below 1 in float32 too", _is_below_1)
NUMBER = Rule("must be a number that float32 can hold", is_number)
POSITIVE = Rule(
    "must be a number above 0, from 1.2e-38 to 3.4e38 so that float32 can hold it",
    lambda v: is_number(v) and v > 0,
)
NOT_NEGATIVE = Rule(
    "must be 0 or a number above it, from 1.2e-38 to 3.4e38 so that float32 can hold it",
    lambda v: is_number(v) and v >= 0,
)
FRACTION = Rule("must be a number in (0, 1]", lambda v: is_number(v) and 0 < v <= 1)
COUNT = Rule("must be a whole number in [1, 2**31)", lambda v: is_int(v) and 1 <= v < 2**31)
COUNT_OR_0 = Rule("must be a whole number in [0, 2**31)", lambda v: is_int(v) and 0 <= v < 2**31)
SHARE = Rule("must be a number in [0, 1), below 1 in float32 too", _is_below_1)
PATH = Rule(PATH_RULE, lambda v: isinstance(v, str) and is_local(v))
PATHS = Rule(
    "must be paths on this machine with commas between them",
    lambda v: isinstance(v, str) and all(map(is_local, v.split(","))),
)
SEED = Rule(  # jax wraps larger seeds into this range
    "must be a whole number in [0, 2**32)", lambda v: is_int(v) and 0 <= v < 2**32
)
EPOCHS = Rule(
    "must be a tuple of epochs, each at least 1",
    lambda v: isinstance(v, tuple | list) and all(is_int(e) and e >= 1 for e in v),
)


def tuple_of(rule: Rule) -> Rule:
    """Returns the rule of a non-empty tuple whose items each follow a rule."""
    return Rule(
        f"must be a tuple of at least one, each of which {rule.words}",
        lambda v: isinstance(v, tuple | list) and len(v) > 0 and all(map(rule.holds, v)),
    )


NAME = Rule(
    "must be a name of letters, digits, '.', '_' and '-'",
    lambda v: isinstance(v, str) and re.fullmatch(r"[\w.-]*[\w-][\w.-]*", v, re.ASCII) is not None,
)
