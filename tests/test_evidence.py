"""The table of all runs in experiments/README.md is what the logs say."""

from experiments.report import BEGIN, COMMIT, END, README, make_table


def without_commits(table):
    """The cells; which commits there are, only a whole history tells."""
    rows = [line.split(" | ") for line in table.splitlines()]
    column = rows[0].index(COMMIT)
    return [row[:column] + row[column + 1 :] for row in rows]


def test_the_table_is_made_from_the_logs():
    """If it is not: python experiments/report.py."""
    table = README.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert without_commits(table) == without_commits(make_table(lambda paths: ""))
