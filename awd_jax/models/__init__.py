"""flax.linen modules: they own parameters and call `awd_jax.core`."""
