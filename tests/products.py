"""The matrix products of a program, as an accelerator computes them."""

from collections.abc import Callable, Iterator
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params


def all_products(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Every matrix product of a program, in whatever part of it but those for a CPU alone."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        platforms = equation.params.get("branches_platforms")
        if platforms:  # names of platforms, or None for all others
            branches = equation.params["branches"]
            others = [b for b, names in zip(branches, platforms, strict=True) if not names]
            yield from all_products(others[0].jaxpr)
        else:
            for inner in jaxprs_in_params(equation.params):
                yield from all_products(inner)


def as_on(platform: str) -> Callable[..., Any]:
    """Stands in for `jax.lax.platform_dependent`, to run here what another platform would."""

    def platform_dependent(*arguments: Any, default: Callable, **others: Callable) -> Any:
        return others.get(platform, default)(*arguments)

    return platform_dependent
