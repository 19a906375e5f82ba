"""The grid in one pass is each of its points in a pass of its own."""

import numpy as np
from ml_collections import ConfigDict

from awd_jax.tasks.cache import make_mix, make_static_pass
from awd_jax.tasks.tune import make_grid_mix
from tests.tasks.small import MODEL, PARAMS, STREAM

GRID = ConfigDict({"windows": (3, 30), "thetas": (0.5, 2), "lambs": (0.0, 0.1, 0.4)})


def test_each_point_of_the_grid_is_a_cache_of_these_settings():
    grid = make_static_pass(MODEL, make_grid_mix(GRID), 30, steps=8)(PARAMS, STREAM, "test").nlls
    assert grid.shape == (2, 2, 3)
    for w, th, la in [(0, 0, 1), (1, 0, 2), (0, 1, 2)]:
        mix = make_mix(ConfigDict({"theta": float(GRID.thetas[th]), "lamb": GRID.lambs[la]}))
        alone = make_static_pass(MODEL, mix, GRID.windows[w], steps=8)(PARAMS, STREAM, "test").nlls
        np.testing.assert_allclose(grid[w, th, la], alone[1], rtol=1e-5)
        np.testing.assert_allclose(grid[..., 0], alone[0], rtol=1e-5)  # no share: the softmax
    assert len(set(grid[..., 1:].ravel())) == 8
