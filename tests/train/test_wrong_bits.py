"""How many bits of an answer are wrong, and that few are better than many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.data.bits import even_plan
from awd_jax.models.bits import BitModel
from awd_jax.run.replicas import Replicas
from awd_jax.train import validation
from awd_jax.train.bits import bits_problem, make_measure
from configs import ntm_associative_recall, ntm_copy, ntm_repeat_copy


@pytest.mark.parametrize(("num_devices", "batch_size"), [(1, 3), (2, 3), (2, 8)])
def test_wrong_bits_are_those_that_are_asked_for_on_any_number_of_devices(num_devices, batch_size):
    """Of a model that answers 1 everywhere, also where nothing is asked for."""
    model = BitModel(9, 8, 4)
    params = model.init_params(jax.random.key(0))
    params["output"] = {"w": jnp.zeros((4, 8)), "b": jnp.full(8, 0.1)}
    calls = []
    measure = make_measure(model, Replicas(jax.devices()[:num_devices]), lambda: calls.append(None))
    plan = even_plan("copy", range(2, 4), 0, (3, batch_size), 1)
    zeros = sum((batch.weights[..., None] * (1 - batch.targets)).sum() for batch in plan)
    assert measure(params, plan) == {"wrong_bits": zeros / (3 * batch_size)}
    assert len(calls) == len(plan)


@pytest.mark.parametrize(
    ("best_by", "loss"), [("nll", 0.5), ("wrong_bits", 3.0), ("exact_match", -0.25)]
)
def test_the_best_epoch_has_the_fewest_errors_and_the_most_of_what_is_good(
    monkeypatch, best_by, loss
):
    config = ntm_copy.get_config("smoke")
    config.train.best_by = best_by
    found = {"wrong_bits": 3.0, "exact_match": 0.25}
    problem = bits_problem(config)._replace(make_measure=lambda *_: lambda *_: found)
    monkeypatch.setattr(validation, "make_evaluate", lambda *_: lambda *_: 0.5)
    _, validate = validation.make_validate(config.train, problem, Replicas(jax.devices()[:1]))
    validated = validate({}, problem.valid)
    assert (validated.loss, validated.nll, validated.measures) == (loss, 0.5, found)


def test_only_the_test_has_another_length():
    config = ntm_copy.get_config("smoke")
    problem = bits_problem(config)
    assert np.ptp(problem.test.sizes[:, 0]) > 0
    config.data.test_length = 7
    longer = bits_problem(config)
    assert {*longer.test.sizes[:, 0].tolist()} == {7}
    np.testing.assert_array_equal(longer.valid.sizes, problem.valid.sizes)
    np.testing.assert_array_equal(longer.train(3).sizes, problem.train(3).sizes)
    assert (problem.valid[3].targets != problem.test[3].targets[:, :4]).any()


@pytest.mark.parametrize("recipe", [ntm_copy, ntm_repeat_copy, ntm_associative_recall])
def test_a_problem_has_the_channels_of_its_exercise(recipe):
    problem = bits_problem(recipe.get_config("smoke"))
    batch = problem.train(1)[0]
    assert len(problem.source_vocabulary) == problem.model.input_dim == batch.inputs.shape[2]
    assert len(problem.vocabulary) == problem.model.output_dim == batch.targets.shape[2]
    assert problem.guessing_nll == pytest.approx(len(problem.vocabulary) * np.log(2))
    assert problem.describe_nll(np.log(2)).startswith("1.0000 of ")
