"""The NLL at a temperature: by definition, however the text is cut."""

import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.data.windows import batchify
from awd_jax.tasks.tune_temperature import make_temperature_pass
from tests.tasks.small import MODEL, PARAMS, STREAM

TEMPERATURES = (0.5, 1.0, 1.7)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("num_steps", [0.5, 4, 1000])
def test_it_is_the_definition_however_the_text_is_cut(batch_size, num_steps):
    stream = batchify(STREAM[:, 0], batch_size)
    limit = int(num_steps * batch_size * MODEL.vocab_size)
    scored = make_temperature_pass(MODEL, TEMPERATURES, limit)(PARAMS, stream, "test")
    inputs, targets = jnp.asarray(stream[:-1]), stream[1:, :, None]
    log_probs, _ = MODEL.log_probs(PARAMS, inputs, MODEL.initial_carry(batch_size))
    for temperature, nll in zip(TEMPERATURES, scored.nlls, strict=True):
        p = np.exp(np.float64(log_probs) / temperature)
        p /= p.sum(-1, keepdims=True)
        expected = -np.log(np.take_along_axis(p, targets, -1)).mean()
        assert nll == pytest.approx(expected, rel=1e-5)
    assert len({*scored.nlls}) == 3
