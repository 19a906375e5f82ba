"""Pure functions of arrays. Imports jax, optax and jaxtyping, nothing else.

Shape letters: T time, B sequences side by side, D input features, H hidden,
G all four gates side by side (4H), V vocabulary.
"""
