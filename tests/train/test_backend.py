import pytest

from awd_jax.errors import InputError
from awd_jax.train.backend import check_backend
from configs import default


@pytest.mark.parametrize("backend", ["auto", "fast", "scan"])
def test_what_runs_anywhere_is_allowed(backend):
    config = default.get_config().model
    config.lstm_backend, config.dtype = backend, "bfloat16"
    check_backend(config)


@pytest.mark.parametrize(
    ("platform", "dtype", "said"),
    [("cpu", "float32", "needs a GPU, and jax runs on cpu"), ("gpu", "bfloat16", "in float32")],
)
def test_cudnn_is_refused_where_it_cannot_run(monkeypatch, platform, dtype, said):
    monkeypatch.setattr("jax.default_backend", lambda: platform)
    config = default.get_config().model
    config.backend, config.dtype = "cudnn", dtype
    with pytest.raises(InputError, match=said):
        check_backend(config)
