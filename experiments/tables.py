"""What scripts that make tables share."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Mean and range; "" of nothing."""
    values = list(values)
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def leave_table(out: Path, table: str) -> None:
    """Writes table.md into a directory, and prints it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(table, encoding="utf-8")
    print(table, end="")
