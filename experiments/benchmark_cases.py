"""The parts of the benchmark's cases: sizes, products, memory allocators."""

import argparse
from typing import Any

from experiments.arguments import counts

PRODUCTS = ("input products", "recurrent products", "softmax products")
# The sizes that cases vary, with the recipe's field of each.
SIZES = {
    "vocab": "vocab_size",
    "embed": "model.embed_dim",
    "hidden": "model.hidden_dim",
    "batch": "train.batch_size",
    "time": "train.bptt",
}
SCALE = "hidden=256,512,1150,2048,4096 batch=1,4,20,80,256 time=16,32,70,128,256,512 "
SCALE += "vocab=1000,10000,100000,300000"
# GLIBC_TUNABLES of each worker. awd_jax gets that of `make run`.
HUGE_PAGES = "glibc.malloc.hugetlb=1"
KEEPING = (
    "glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=0x10000000000"
)
ALLOCATORS = {
    "jax": HUGE_PAGES,
    "torch": "",
    "torch tuned": f"{HUGE_PAGES}:{KEEPING}",
}
EVALUATED_WINDOWS = 29  # of bptt tokens, in one pass of evaluation


def axis(text: str) -> list[dict[str, int]]:
    """The sizes of one or more cases: `batch=1,4` is two cases."""
    name, _, values = text.partition("=")
    if name not in SIZES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be SIZE=VALUES, where SIZE is one of {', '.join(SIZES)}"
        )
    return [{name: value} for value in counts(values)]


def make_settings(recipe: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    """The recipe with these sizes, (D, H) of its layers, and (D, G) of the products' matrices."""
    settings = recipe | {SIZES[name]: value for name, value in sizes.items()}
    inner = [sizes["hidden"]] * (settings["model.num_layers"] - 1)
    dims = list(zip([sizes["embed"], *inner], [*inner, sizes["embed"]], strict=True))
    return settings | {
        "layer_dims": dims,
        "input products": [(d, 4 * h) for d, h in dims],
        "recurrent products": [(h, 4 * h) for _, h in dims],
        "softmax products": [(sizes["embed"], sizes["vocab"])],
    }
