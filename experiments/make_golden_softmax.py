"""Writes tests/core/golden_softmax.npz: the adaptive softmax and a mixture, by PyTorch.

Needs torch and numpy, not jax:

    python experiments/make_golden_softmax.py

`adaptive` is torch's own `AdaptiveLogSoftmaxWithLoss` (div_value 2, with a bias in the head), which
is not tied to an embedding. It has no map before its head, ours is the identity, and no bias in
its clusters, ours is 0. torch has no mixture of softmaxes; its formula is written out here.

Parameters, features and weights are float32 numbers; the computation is in float64 and rounded once
at the end. The names of the arrays of each are those of our parameters, such as
`adaptive/table.rows.1`; with `hs` [T, B, D], `targets` and `weights` [T, B], `log_probs` [T, B, V],
`nll` [T, B], and `grads.NAME`, the gradient of the sum of weight * NLL.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PATH = Path(__file__).parents[1] / "tests" / "core" / "golden_softmax.npz"
T, B, D, V = 6, 2, 8, 30
CUTOFFS = [6, 14]
K, E = 3, 5  # components of the mixture, features of its latents

Arrays = dict[str, Tensor]


def draw(*shape: int) -> Tensor:
    """Numbers that float32 can hold, in float64."""
    return torch.randn(shape).double().requires_grad_()


def adaptive(hs: Tensor, targets: Tensor) -> tuple[Arrays, Arrays, Tensor, Tensor]:
    """Parameters that have a gradient, constants, log-probabilities, and NLL of each target."""
    module = nn.AdaptiveLogSoftmaxWithLoss(D, V, CUTOFFS, div_value=2.0, head_bias=True).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(draw(*parameter.shape) / 2)
    first, head = CUTOFFS[0], module.head
    rows = {f"table.rows.{k}": tail[1].weight for k, tail in enumerate(module.tail, 1)}
    maps = {f"table.projections.{k}": tail[0].weight for k, tail in enumerate(module.tail, 1)}
    whole = {"head.weight": head.weight, "head.bias": head.bias, **rows, **maps}
    constants = {"table.projections.0": torch.eye(D).double()}
    columns = module.log_prob(hs.reshape(-1, D)).reshape(T, B, V)
    nll = -module(hs.reshape(-1, D), targets.reshape(-1)).output.reshape(T, B)
    assert first + len(CUTOFFS) == len(head.weight)
    return whole, constants, columns, nll


def split_head(arrays: Arrays) -> Arrays:
    """Our names for the parts of torch's head; those of other arrays stay."""
    first, named = CUTOFFS[0], dict(arrays)
    weight, bias = named.pop("head.weight"), named.pop("head.bias")
    return named | {
        "table.rows.0": weight[:first],
        "own.clusters": weight[first:],
        "own.bias": bias[:first],
        "own.cluster_bias": bias[first:],
    }


def mixture(hs: Tensor, targets: Tensor) -> tuple[Arrays, Arrays, Tensor, Tensor]:
    """The same of a mixture."""
    shapes = {"own.w_prior": (D, K), "own.w_latent": (D, K * E), "own.b_latent": (K * E,)}
    p = {n: draw(*s) for n, s in {**shapes, "own.bias": (V,), "table": (V, E)}.items()}
    priors = torch.softmax(hs @ p["own.w_prior"], dim=-1)
    latents = torch.tanh(hs @ p["own.w_latent"] + p["own.b_latent"]).reshape(T, B, K, E)
    each = torch.softmax(latents @ p["table"].t() + p["own.bias"], dim=-1)
    log_probs = (priors[..., None] * each).sum(dim=2).log()
    nll = -log_probs.gather(-1, targets[..., None])[..., 0]
    return p, {}, log_probs, nll


def to_numpy(x: Tensor) -> np.ndarray:
    """float32 or int32."""
    return x.detach().numpy().astype(np.float32 if x.is_floating_point() else np.int32)


def main() -> None:
    """Writes the file."""
    torch.manual_seed(0)
    arrays = {}
    for name, run in (("adaptive", adaptive), ("mixture", mixture)):
        hs, targets = draw(T, B, D), torch.randint(V, (T, B))
        weights = torch.rand(T, B).double()
        params, constants, log_probs, nll = run(hs, targets)
        given = {**params, "hs": hs}
        found = torch.autograd.grad((weights * nll).sum(), list(given.values()))
        grads = dict(zip(given, found, strict=True))
        if name == "adaptive":
            params, grads = split_head(params), split_head(grads)
        results = {"targets": targets, "weights": weights, "log_probs": log_probs, "nll": nll}
        named = {f"grads.{n}": g for n, g in grads.items()}
        for key, array in {**params, **constants, "hs": hs, **results, **named}.items():
            arrays[f"{name}/{key}"] = to_numpy(array)
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH.name}: {PATH.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
