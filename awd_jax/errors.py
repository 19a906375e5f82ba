"""What stops a run: a wrong input, or training that diverged."""


class InputError(ValueError):
    """A wrong input: one line that gives the value, the rule and the fix.

    `main` prints it without a traceback and exits with code 2. What config and
    corpus say is checked before any device work and before anything is written.
    """

    def __init__(self, value: str, rule: str, fix: str) -> None:
        super().__init__(f"{value}: {rule}; {fix}")


class DivergedError(RuntimeError):
    """A loss or gradient that is not finite. `main` prints it and exits with code 1."""


def one_line(error: Exception) -> str:
    """The last line of an error's message, which says most; its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
