"""What a split says of a model: its loss, and the measures that a config asks for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from ml_collections import ConfigDict

from awd_jax.batches import Plan
from awd_jax.run.replicas import Replicas
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.problem import Problem

ERRORS = ("wrong_bits",)  # measures whose lowest value is the best; of the others, the highest


class Validated(NamedTuple):
    """The result on a split."""

    nll: float  # mean, in nats per token
    measures: dict[str, float]  # by name; none for language models
    loss: float  # what the best epoch has the lowest of: the NLL, an error, or minus a measure
    tables: dict[str, Any] = {}  # noqa: RUF012 (never changed): what else there is to report

    def describe(self, problem: Problem) -> str:
        """Returns all of it, formatted."""
        values = (f" | {name} {value:.4g}" for name, value in self.measures.items())
        return problem.describe_nll(self.nll) + "".join(values)

    def named(self, split: str) -> dict[str, float]:
        """Returns the measures by their names in logs and results."""
        return {f"{split}_{name}": value for name, value in self.measures.items()}

    def result(self, split: str) -> dict[str, Any]:
        """Returns the measures and the tables by their names in results."""
        return self.named(split) | {f"{split}_{name}": t for name, t in self.tables.items()}


def make_validate(
    config: ConfigDict,
    problem: Problem,
    replicas: Replicas,
    between_batches: Callable[[], None] = lambda: None,
) -> tuple[Callable[[optax.Params, Plan], float], Callable[[optax.Params, Plan], Validated]]:
    """Returns two functions of (params, plan): to the mean NLL alone, and to all of `Validated`.

    Args:
      config: the group `train`.
      problem: its model and measures.
      replicas: the devices.
      between_batches: called after each batch; may raise to end the validation.
    """
    model = problem.model.for_evaluation()
    evaluate = make_evaluate(model, replicas, between_batches)
    measure = problem.make_measure and problem.make_measure(model, replicas, between_batches)

    def validate(params: optax.Params, plan: Plan) -> Validated:
        nll = evaluate(params, plan)
        found = measure(params, plan) if measure else {}
        measures = {name: value for name, value in found.items() if isinstance(value, float)}
        tables = {name: value for name, value in found.items() if name not in measures}
        value = {"nll": nll, **measures}[config.best_by]
        loss = value if config.best_by in ("nll", *ERRORS) else -value
        return Validated(nll, measures, loss, tables)

    return evaluate, validate
