"""The tests that optax ships for contributed optimizers, run on SGD with `nt_asgd`."""

from unittest import mock

import jax
import jax.numpy as jnp
import optax
import pytest
from optax import contrib

from awd_jax.core.ntasgd import nt_asgd

parameterized = pytest.importorskip("absl.testing.parameterized")

OURS = {
    "opt_name": "sgd_nt_asgd",
    "opt_kwargs": {"learning_rate": 1e-3},
    "wrapper_name": None,
    "wrapper_kwargs": None,
}


def sgd_nt_asgd(learning_rate: optax.ScalarOrSchedule):
    return optax.chain(optax.sgd(learning_rate), nt_asgd())


def product_of_ours(*optimizers, product=parameterized.product, **axes):
    if "dtype" in axes:  # XLA compiles no float16 for a CPU without its instructions (F16C)
        axes["dtype"] = [dtype for dtype in axes["dtype"] if dtype is not jnp.float16]
    return product((OURS,), **axes)


with mock.patch.object(parameterized, "product", product_of_ours):
    ContribTest = pytest.importorskip("optax.contrib._common_test").ContribTest


@pytest.fixture(autouse=True)
def setting(monkeypatch):
    monkeypatch.setattr(contrib, OURS["opt_name"], sgd_nt_asgd, raising=False)
    with jax.numpy_dtype_promotion("standard"):  # `optax.MultiSteps` divides floats by integers
        yield
