"""Corpora as streams of token ids, and windows of them. numpy and TFDS, no jax."""
