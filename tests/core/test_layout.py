"""Where arrays lie, on a TPU alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.layout import lay_out
from tests.products import as_on


@pytest.mark.parametrize(("platform", "is_asked"), [("cpu", False), ("cuda", False), ("tpu", True)])
def test_only_a_tpu_is_asked_for_an_order(platform, is_asked):
    traced = jax.jit(lambda x: lay_out(x, (0, 2, 1))).trace(jnp.ones((2, 3, 4)))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("LayoutConstraint" in program) == is_asked


def test_the_numbers_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", as_on("tpu"))
    x = jnp.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(jax.jit(lambda x: lay_out(x, (0, 2, 1)))(x), x)
