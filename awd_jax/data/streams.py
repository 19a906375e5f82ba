"""Streams of random numbers from which data are drawn."""

import numpy as np

from awd_jax.errors import InputError


def stream(*seeds: int) -> np.random.RandomState:
    """Returns a stream that follows from these numbers.

    Not default_rng: numpy freezes the streams of RandomState and SeedSequence only (NEP 19), and a
    resumed run must draw the same data whatever numpy it finds.

    Raises:
      InputError: one of them is negative.
    """
    for seed in seeds:
        if seed < 0:
            raise InputError(f"seed {seed}", "must not be negative", "use 0 or more")
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds)))
