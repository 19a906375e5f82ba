"""What is refused before any device works, and who has which sequences."""

import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.train.devices import check_backend, check_batch, share
from configs import default


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(9, "to 8 or 12"), (21, "to 20 or 24"), (3, "to 4")]
)
def test_a_batch_that_does_not_divide_is_told_the_sizes_that_would(batch_size, sizes):
    config = default.get_config().train
    config.batch_size = batch_size
    with pytest.raises(InputError, match=f"multiple of the 4 devices; .* {sizes}$"):
        check_batch(config, 4)
    config.batch_size = 12
    check_batch(config, 4)


@pytest.mark.parametrize(("batch_size", "shares"), [(8, [4, 4]), (5, [4, 1]), (1, [1, 0])])
def test_every_sequence_belongs_to_one_process(batch_size, shares):
    sequences = np.arange(batch_size)
    parts = [sequences[share(batch_size, 4, 2, process)] for process in (0, 1)]
    assert [len(part) for part in parts] == shares
    np.testing.assert_array_equal(np.concatenate(parts), sequences)


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
    config.lstm_backend, config.dtype = "cudnn", dtype
    with pytest.raises(InputError, match=said):
        check_backend(config)
