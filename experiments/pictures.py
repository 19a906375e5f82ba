"""What scripts that draw share."""

import sys
from types import ModuleType


def pyplot() -> ModuleType:
    """The module that draws, into files."""
    try:
        import matplotlib
    except ImportError:
        sys.exit("needs matplotlib: pip install '.[plot]'")
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot
