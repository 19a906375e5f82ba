"""Writes tests/models/golden_awd_lstm.npz: what PyTorch computes for a small AWD-LSTM.

Needs torch and numpy, not jax:

    python experiments/make_golden.py

Parameters and masks are float32 numbers; the computation is in float64 and rounded once, at the
end, so the file has no rounding errors of its own. Names and layouts are torch's: weights are
[4H, D] with the gates in the order i, f, g, o, and time is the first axis.

`step/` is one window with every kind of dropout: logits, loss, carry, all gradients, and the
logits of evaluation. `run/` is ten windows of different lengths, with the same first parameters and
masks: clipping, then L2, then SGD at a rate proportional to the length; from step `FIRST_AVERAGED`
on, the iterates are averaged. `run_torch_clip/` has the last parameters if `clip_grad_norm_` clips,
which divides by the norm + 1e-6.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

PATH = Path(__file__).parents[1] / "tests" / "models" / "golden_awd_lstm.npz"

VOCAB, EMBED, HIDDEN, T, B = 23, 8, 12, 11, 4
SIZES = [(EMBED, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, EMBED)]
ALPHA, BETA = 2.0, 1.0
LENGTHS = [11, 4, 7, 11, 5, 9, 6, 11, 8, 3]
LEARNING_RATE = 4.0  # for a window of T tokens
MAX_GRAD_NORM = 0.22
WEIGHT_DECAY = 0.02
FIRST_AVERAGED = 3  # index of the first step whose result is averaged

Carry = list[tuple[Tensor, Tensor]]


class AWDLSTM(nn.Module):
    """Embedding, three `nn.LSTM`, and a softmax tied to the embedding; masks are arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(VOCAB, EMBED).uniform_(-0.5, 0.5))
        self.bias = nn.Parameter(torch.empty(VOCAB).uniform_(-0.5, 0.5))
        self.layers = nn.ModuleList(nn.LSTM(d, h) for d, h in SIZES)

    def forward(
        self, inputs: Tensor, carry: Carry, masks: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, Carry]:
        """Logits, the last layer's outputs before and after dropout, and the new carry."""

        def drop(name: str, x: Tensor) -> Tensor:
            return x if masks is None else masks[name] * x

        hs = drop("input", F.embedding(inputs, drop("embedding", self.embedding)))
        new_carry = []
        for i, (layer, (h, c)) in enumerate(zip(self.layers, carry, strict=True)):
            dropped = {"weight_hh_l0": drop(f"weight_hh.{i}", layer.weight_hh_l0)}
            raw_hs, (h, c) = functional_call(layer, dropped, (hs, (h[None], c[None])))
            hs = drop("output" if i == len(SIZES) - 1 else f"hidden.{i}", raw_hs)
            new_carry.append((h[0].detach(), c[0].detach()))
        return F.linear(hs, self.embedding, self.bias), raw_hs, hs, new_carry


def training_loss(logits: Tensor, targets: Tensor, raw_hs: Tensor, dropped_hs: Tensor) -> Tensor:
    """Mean NLL + alpha AR + beta TAR."""
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    tar = (raw_hs[1:] - raw_hs[:-1]).pow(2).mean()
    return nll + ALPHA * dropped_hs.pow(2).mean() + BETA * tar


def sample_masks() -> dict[str, Tensor]:
    """One mask of each kind, Bernoulli(keep) / keep."""
    keep_and_shape = {
        "embedding": (0.8, (VOCAB, 1)),
        "input": (0.7, (1, B, EMBED)),
        "hidden.0": (0.75, (1, B, HIDDEN)),
        "hidden.1": (0.75, (1, B, HIDDEN)),
        "output": (0.6, (1, B, EMBED)),
        **{f"weight_hh.{i}": (0.5, (4 * h, h)) for i, (_, h) in enumerate(SIZES)},
    }
    return {
        name: (torch.bernoulli(torch.full(shape, keep)) / keep).double()
        for name, (keep, shape) in keep_and_shape.items()
    }


def random_carry() -> Carry:
    """A carry that is not zero."""
    return [(torch.randn(B, h).double(), torch.randn(B, h).double()) for _, h in SIZES]


def one_step(model: AWDLSTM, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything about one window."""
    inputs, targets = torch.randint(VOCAB, (2, T, B))
    carry = random_carry()
    logits, raw_hs, dropped_hs, new_carry = model(inputs, carry, masks)
    loss = training_loss(logits, targets, raw_hs, dropped_hs)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return {
        "inputs": inputs,
        "targets": targets,
        **name_carry("carry", carry),
        "logits": logits,
        "loss": loss,
        **{f"grad/{n}": g for (n, _), g in zip(model.named_parameters(), grads, strict=True)},
        **name_carry("new_carry", new_carry),
        "eval_logits": model(inputs, carry, None)[0],
    }


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scales the gradients in place to a total norm of at most `max_norm`, exactly."""
    grads = [p.grad for p in params]
    norm = nn.utils.get_total_norm(grads)
    for grad in grads:
        grad.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


def ten_steps(
    model: AWDLSTM, masks: dict[str, Tensor], inputs: Tensor, targets: Tensor, clip: Callable
) -> dict[str, Tensor]:
    """Trains the model in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    carry = [(torch.zeros(B, h).double(), torch.zeros(B, h).double()) for _, h in SIZES]
    losses, norms, iterates = [], [], []
    for window, window_targets, length in zip(inputs, targets, LENGTHS, strict=True):
        logits, raw_hs, dropped_hs, carry = model(window[:length], carry, masks)
        loss = training_loss(logits, window_targets[:length], raw_hs, dropped_hs)
        optimizer.zero_grad()
        loss.backward()
        norms.append(clip(model.parameters(), MAX_GRAD_NORM))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * length / T
        optimizer.step()
        losses.append(loss.detach())
        iterates.append({n: p.detach().clone() for n, p in model.named_parameters()})
    averaged = iterates[FIRST_AVERAGED:]
    return {
        "inputs": inputs,
        "targets": targets,
        "lengths": torch.tensor(LENGTHS),
        "learning_rates": LEARNING_RATE * torch.tensor(LENGTHS) / T,
        "max_grad_norm": torch.tensor(MAX_GRAD_NORM),
        "weight_decay": torch.tensor(WEIGHT_DECAY),
        "first_averaged": torch.tensor(FIRST_AVERAGED),
        "losses": torch.stack(losses),
        "grad_norms": torch.stack(norms),
        **{f"last/{n}": p for n, p in iterates[-1].items()},
        **{f"mean/{n}": torch.stack([it[n] for it in averaged]).mean(0) for n in iterates[-1]},
    }


def name_carry(prefix: str, carry: Carry) -> dict[str, Tensor]:
    """Names for the arrays of a carry."""
    named = {f"h.{i}": h for i, (h, _) in enumerate(carry)}
    named |= {f"c.{i}": c for i, (_, c) in enumerate(carry)}
    return {f"{prefix}/{name}": state for name, state in named.items()}


def to_numpy(x: Tensor) -> np.ndarray:
    """float32 or int32."""
    return x.detach().numpy().astype(np.float32 if x.is_floating_point() else np.int32)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are no options but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """Computes and writes the file."""
    torch.manual_seed(0)
    model = AWDLSTM().double()
    masks = sample_masks()
    windows = torch.randint(VOCAB, (2, len(LENGTHS), T, B))
    same_model = copy.deepcopy(model)
    params = {n: p.detach().clone() for n, p in model.named_parameters()}
    run_torch_clip = ten_steps(same_model, masks, *windows, nn.utils.clip_grad_norm_)
    golden = {
        **{f"param/{n}": p for n, p in params.items()},
        **{f"mask/{n}": m for n, m in masks.items()},
        **{f"step/{n}": x for n, x in one_step(model, masks).items()},
        **{f"run/{n}": x for n, x in ten_steps(model, masks, *windows, clip_grad_norm).items()},
        **{f"run_torch_clip/{n}": x for n, x in run_torch_clip.items() if n.startswith("last/")},
    }
    np.savez_compressed(PATH, **{name: to_numpy(x) for name, x in golden.items()})
    print("gradient norms", golden["run/grad_norms"].numpy().round(3), "clip", MAX_GRAD_NORM)
    print(PATH, PATH.stat().st_size, "bytes")


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
