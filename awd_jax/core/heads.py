"""The output layers, by their names in a config."""

from collections.abc import Callable

from awd_jax.core.adaptive import adaptive
from awd_jax.core.mixture import mixture
from awd_jax.core.softmax import Head, separate, tied

HEADS: dict[str, Callable[..., Head]] = {
    "tied": tied,
    "separate": separate,
    "mixture": mixture,
    "adaptive": adaptive,
}
