"""Pure functions of arrays. Imports jax, optax and jaxtyping, nothing else.

Shape letters: T time steps, B parallel sequences, D input features, H hidden features, G all gates
of a cell concatenated (4H for the LSTM, 3H for the GRU, H for the tanh RNN), V vocabulary.
"""
