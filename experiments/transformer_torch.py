"""The worker of transformer_speed.py that runs PyTorch: the same model, loss and optimizer.

Sequences come first, so that the products of heads are batched ones. Positions that are not
relative leave attention to `scaled_dot_product_attention`, whose fast kernel takes no bias with a
gradient.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.large_vocabulary import zipf_ids
from experiments.transformer_cases import CASES, MAX_GRAD_NORM, RATE, VOCAB_SIZE, measure


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """[sin, cos] of each position times D / 2 frequencies."""
    frequencies = 10_000.0 ** (-torch.arange(0, dim, 2) / dim)
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Layer(nn.Module):
    """Attention and two products, each with a residual and a norm after it."""

    def __init__(self, sizes: dict[str, Any], params: dict[str, Tensor], name: str) -> None:
        super().__init__()
        own = {n.removeprefix(name): p for n, p in params.items() if n.startswith(name)}
        self.p = nn.ParameterDict({n.replace(".", "_"): nn.Parameter(p) for n, p in own.items()})
        self.num_heads, self.head_dim = sizes["num_heads"], sizes["head_dim"]

    def heads(self, xs: Tensor, w: Tensor) -> Tensor:
        """[B, N, T, H] from [B, T, D]."""
        return (xs @ w).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def norm(self, name: str, xs: Tensor) -> Tensor:
        """Layer normalisation."""
        return F.layer_norm(xs, xs.shape[-1:], self.p[f"{name}_scale"], self.p[f"{name}_bias"])

    def forward(self, xs: Tensor, memory: Tensor, hidden: Any, relative: Any) -> Tensor:
        """The outputs [B, T, D]; `hidden` [T, K] are the keys that a query does not see."""
        seen, num_steps = torch.cat([memory, xs], dim=1), xs.shape[1]
        q = self.heads(xs, self.p["w_q"])
        k, v = (self.heads(seen, self.p[name]) for name in ("w_k", "w_v"))
        if relative is None:
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            w_r, of_contents, of_distances, distances = relative
            rs = self.heads(distances[None], w_r)  # of K - 1, ..., 0
            scores = (q + of_contents[:, None]) @ k.transpose(-1, -2)
            by_distance = (q + of_distances[:, None]) @ rs.transpose(-1, -2)
            # Row i moves to the left by T - 1 - i: one offset for all, in rows one column longer.
            flat = F.pad(by_distance, (1, 0)).flatten(-2)[..., num_steps:]
            scores = (scores + flat.unflatten(-1, scores.shape[-2:])) * self.head_dim**-0.5
            attended = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
        attended = attended.transpose(1, 2).flatten(-2) @ self.p["w_o"]
        ys = self.norm("attention_norm", xs + attended)
        inner = F.relu(ys @ self.p["w_1"] + self.p["b_1"])
        return self.norm("feedforward_norm", ys + inner @ self.p["w_2"] + self.p["b_2"])


class TransformerLM(nn.Module):
    """A model with these parameters, under the names that ours have."""

    def __init__(self, sizes: dict[str, Any], params: dict[str, Tensor]) -> None:
        super().__init__()
        self.sizes, self.memory_length = sizes, sizes["memory_length"]
        each = range(sizes["num_layers"])
        self.embedding = nn.Parameter(params["embedding"])
        self.bias = nn.Parameter(params["softmax.bias"])
        self.layers = nn.ModuleList(Layer(sizes, params, f"layer_{i}.") for i in each)
        self.is_relative = sizes["positions"] == "relative"
        if self.is_relative:
            self.w_r = nn.ParameterList([params[f"relative_{i}.w_r"] for i in each])
            self.u, self.v = (nn.Parameter(params[f"biases.{n}"]) for n in "uv")

    def forward(
        self, ids: Tensor, targets: Tensor, memory: list[Tensor], num_filled: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The mean NLL of ids and targets [B, T], and the next memory."""
        num_steps, dim = ids.shape[1], self.sizes["embed_dim"]
        m, steps = self.memory_length, torch.arange(num_steps)
        xs = F.embedding(ids, self.embedding) * dim**0.5
        if self.is_relative:
            distances = sinusoids(torch.arange(m + num_steps - 1, -1, -1), dim)
            keys = torch.arange(m + num_steps)
            hidden = (keys > steps[:, None] + m) | (keys < m - num_filled)
        else:
            xs, hidden = xs + sinusoids(steps, dim), None
        after = []
        for i, layer in enumerate(self.layers):
            after.append(torch.cat([memory[i], xs.detach()], dim=1)[:, num_steps:])
            relative = (self.w_r[i], self.u, self.v, distances) if self.is_relative else None
            xs = layer(xs, memory[i], hidden, relative)
        logits = F.linear(xs.flatten(0, 1), self.embedding, self.bias)
        return F.cross_entropy(logits, targets.flatten()), after


def training(sizes: dict[str, Any], params: dict[str, Tensor], is_compiled: bool) -> Any:
    """Returns a function that does a training step, and returns loss and norm of the gradient."""
    model = TransformerLM(sizes, params)
    run = torch.compile(model) if is_compiled else model
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True)
    ids = torch.from_numpy(zipf_ids(VOCAB_SIZE, sizes["bptt"] + 1, sizes["batch_size"])).long()
    inputs, targets = ids[:-1].T.contiguous(), ids[1:].T.contiguous()
    empty = torch.zeros(sizes["batch_size"], sizes["memory_length"], sizes["embed_dim"])
    memory, num_filled = [empty] * sizes["num_layers"], torch.tensor(0)

    def step() -> tuple[float, float]:
        nonlocal memory, num_filled
        loss, memory = run(inputs, targets, memory, num_filled)
        num_filled = torch.clamp(num_filled + sizes["bptt"], max=sizes["memory_length"])
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()
        return loss.item(), norm.item()

    return step


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("eager", "compiled"))
    parser.add_argument("case", choices=CASES)
    parser.add_argument("params", type=Path)
    parser.add_argument("steps", type=int)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)  # as XLA does
    arrays = {name: torch.from_numpy(array) for name, array in np.load(options.params).items()}
    step = training(CASES[options.case], arrays, options.kind == "compiled")
    print(json.dumps(measure(step, options.steps)))
