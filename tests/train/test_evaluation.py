import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.data.windows import batchify, even_plan
from awd_jax.models.recurrent import RecurrentLM
from awd_jax.run.replicas import Replicas
from awd_jax.train.evaluation import make_evaluate

V = 17
MODEL = RecurrentLM(V, 6, 10, 2, output_dropout_rate=0.5, weight_drop_rate=0.5)
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
    evaluate = make_evaluate(MODEL, Replicas(jax.devices()[:num_devices]))
    inputs, targets = jnp.asarray(stream[:-1]), jnp.asarray(stream[1:])
    log_probs, _ = MODEL.log_probs(params, inputs, MODEL.initial_carry(batch_size))
    at_once = -jnp.take_along_axis(log_probs, targets[..., None], axis=-1).mean()
    assert evaluate(params, even_plan(stream, bptt)) == pytest.approx(float(at_once), rel=1e-5)


def test_perplexity_of_an_untrained_model_is_about_the_vocabulary():
    params = MODEL.init_params(jax.random.key(0))
    evaluate = make_evaluate(MODEL, Replicas(jax.devices()[:1]))
    nll = evaluate(params, even_plan(batchify(TOKENS, 2), 16))
    assert np.exp(nll) == pytest.approx(V, rel=0.01)
