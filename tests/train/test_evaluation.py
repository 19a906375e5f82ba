import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core.losses import token_nll
from awd_jax.data.windows import batchify
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.run.replicas import Replicas
from awd_jax.train.evaluation import make_evaluate

V = 17
MODEL = AWDLSTM(V, 6, 10, 2, output_dropout_rate=0.5, weight_drop_rate=0.5)
TOKENS = np.random.RandomState(0).randint(0, V, 331).astype(np.int32)


@pytest.fixture(scope="module")
def params():
    key = jax.random.key(0)
    params = MODEL.init_params(key)
    return jax.tree.map(lambda p: 5 * p, params)  # far from uniform


@pytest.mark.parametrize(
    ("batch_size", "num_devices", "bptt"),
    [(1, 1, 16), (1, 4, 16), (3, 2, 70), (10, 4, 8), (4, 4, 200)],
)
def test_every_token_counts_once_whatever_the_windows_and_devices(
    params, batch_size, num_devices, bptt
):
    stream = batchify(TOKENS, batch_size)
    evaluate = make_evaluate(MODEL, bptt, Replicas(jax.devices()[:num_devices]))
    logits, _ = MODEL.forward(params, jnp.asarray(stream[:-1]), MODEL.initial_carry(batch_size))
    at_once = token_nll(logits, jnp.asarray(stream[1:])).mean()
    assert evaluate(params, stream) == pytest.approx(float(at_once), rel=1e-5)


def test_perplexity_of_an_untrained_model_is_about_the_vocabulary():
    params = MODEL.init_params(jax.random.key(0))
    nll = make_evaluate(MODEL, 16, Replicas(jax.devices()[:1]))(params, batchify(TOKENS, 2))
    assert np.exp(nll) == pytest.approx(V, rel=0.01)
