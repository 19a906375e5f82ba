"""Where the numbers of an array lie in the memory of a TPU."""

from collections.abc import Sequence

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Shaped


def lay_out(array: Shaped[Array, "..."], axes: Sequence[int]) -> Shaped[Array, "..."]:
    """Returns the array with its axes in this order, the last one contiguous; other devices choose.

    The compiler lets readers of an array decide, also for those who write it step by step.
    """
    order = Layout(major_to_minor=tuple(axes))
    return jax.lax.platform_dependent(
        array, tpu=lambda array: with_layout_constraint(array, order), default=lambda array: array
    )
