"""How a model learns: optimizer, state, step, evaluation, loop."""
