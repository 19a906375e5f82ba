"""A table that a task writes row by row: columns between tabs, or one JSON object a line."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from awd_jax.files import to_json

T = TypeVar("T")
_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Table:
    """Writes rows.

    Args:
      out: where to.
      form: tsv, which begins with the names of the columns, or jsonl.
      columns: their names.
    """

    def __init__(self, out: io.TextIOWrapper, form: str, columns: Sequence[str]) -> None:
        self._out = out
        self._form = form
        self._columns = columns
        if form == "tsv":
            out.write("\t".join(columns) + "\n")

    def write(self, row: Sequence[Any]) -> None:
        """Writes a row: a value for each column."""
        if self._form == "jsonl":
            row_by_name = dict(zip(self._columns, row, strict=True))
            self._out.write(to_json(row_by_name, ensure_ascii=False) + "\n")
        else:
            self._out.write("\t".join(map(_cell, row)) + "\n")


def _cell(value: Any) -> str:
    """Formats a cell: six decimals; blanks between the items of a list."""
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return f"{value:.6f}" if isinstance(value, float) else str(value).translate(_ESCAPES)


def with_bar(items: Iterable[T], total: int, unit: str, output: str) -> Iterator[T]:
    """Wraps items in a progress bar, unless the table itself shows the progress on a terminal.

    Args:
      items: what the rows are made of.
      total: their number.
      unit: what an item is.
      output: where the table goes; "" for standard output.
    """
    disable = True if not output and sys.stdout.isatty() else None
    yield from tqdm(items, total=total, unit=unit, leave=False, disable=disable)
