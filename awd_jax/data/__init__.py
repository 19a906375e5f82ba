"""Corpora as streams of token ids, and the windows cut from them. numpy and TFDS, no jax."""
