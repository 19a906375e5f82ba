"""Training: optimizer, state, step, evaluation, checkpoints, report, loop."""
