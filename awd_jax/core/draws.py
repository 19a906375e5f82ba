"""Initial values."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float, Key


def uniform(key: Key[Array, ""], shape: Sequence[int], num_inputs: int) -> Float[Array, "..."]:
    """Draws from U(-1/sqrt(N), 1/sqrt(N)), as torch does; N is the number of inputs of a sum."""
    bound = num_inputs**-0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
