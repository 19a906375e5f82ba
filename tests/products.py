"""The matrix products of a program."""

from collections.abc import Iterator

from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params


def all_products(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Every matrix product of a program, in whatever part of it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from all_products(inner)
