"""AWD-LSTM language modelling in JAX."""
