"""Tables of parts, such as the cells: a name chooses one, and fields of a model are its options."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Makers = Mapping[str, Callable[..., Any]]  # from a name to a function that makes the part


def options(make: Callable[..., Any]) -> dict[str, Any]:
    """Returns the options of a part with their defaults; `inspect.Parameter.empty` if it has none.

    They are the parameters of the function that makes it, and fields of the same names in a config.
    """
    return {name: p.default for name, p in inspect.signature(make).parameters.items()}


def make_part(table: Makers, name: str, fields: Any, **instead: Any) -> Any:
    """Makes a part with the options that it has, each from `instead` or else from `fields`."""
    make = table[name]
    names = options(make)
    return make(**{n: instead[n] if n in instead else getattr(fields, n) for n in names})
