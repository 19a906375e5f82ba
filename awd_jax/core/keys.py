"""Keys of random numbers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key


def as_threefry(key: Key[Array, ""]) -> Key[Array, ""]:
    """Returns a Threefry key: of other kinds, jax draws a whole `vmap` from its first key."""
    if jax.random.key_impl(key) == "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")
