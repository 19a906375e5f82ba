"""The worker of benchmark.py that runs PyTorch: the same model, masks, loss and optimizer.

It uses the fastest ways that were found. `nn.LSTM` runs in oneDNN; it is called with its dropped
weights, so that the gradient goes through the mask to the raw ones. The embedding's mask is applied
only to the rows that are looked up. Masks are made by comparing uniform numbers, because
`bernoulli_` takes three times as long. SGD is fused.
"""

import os
import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from experiments.benchmark import serve
from experiments.benchmark_cases import EVALUATED_WINDOWS, PRODUCTS

Carry = list[tuple[Tensor, Tensor]]
Masks = dict[str, Tensor]


class AWDLSTM(nn.Module):
    """Embedding, LSTMs of one layer each, and a softmax tied to the embedding; masks are data."""

    def __init__(self, vocab_size: int, dims: list[tuple[int, int]]) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_size, dims[0][0]).uniform_(-0.1, 0.1))
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.layers = nn.ModuleList(nn.LSTM(d, h) for d, h in dims)

    def initial_carry(self, batch_size: int) -> Carry:
        """Zeros."""
        shapes = [(1, batch_size, layer.hidden_size) for layer in self.layers]
        return [(torch.zeros(shape), torch.zeros(shape)) for shape in shapes]

    def forward(
        self, inputs: Tensor, carry: Carry, masks: Masks | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Carry]:
        """Logits, the last layer's outputs before and after dropout, and the new carry."""
        hs = F.embedding(inputs, self.embedding)
        if masks:
            hs = masks["embedding"][inputs] * hs * masks["input"]
        new_carry = []
        for i, (layer, state) in enumerate(zip(self.layers, carry, strict=True)):
            dropped = (
                {"weight_hh_l0": masks[f"weight_hh.{i}"] * layer.weight_hh_l0} if masks else {}
            )
            raw_hs, state = functional_call(layer, dropped, (hs, state))
            after = "output" if i == len(self.layers) - 1 else f"hidden.{i}"
            hs = masks[after] * raw_hs if masks else raw_hs
            new_carry.append(tuple(s.detach() for s in state))
        return F.linear(hs, self.embedding, self.bias), raw_hs, hs, new_carry


def sample_masks(settings: dict[str, Any]) -> Masks:
    """All masks of one window, Bernoulli(keep) / keep."""
    dims, b = settings["layer_dims"], settings["train.batch_size"]
    hidden_rate = settings["model.hidden_dropout_rate"]
    rate_and_shape = {
        "embedding": (settings["model.embed_dropout_rate"], (settings["vocab_size"], 1)),
        "input": (settings["model.input_dropout_rate"], (1, b, dims[0][0])),
        **{f"hidden.{i}": (hidden_rate, (1, b, h)) for i, (_, h) in enumerate(dims[:-1])},
        "output": (settings["model.output_dropout_rate"], (1, b, dims[-1][1])),
        **{
            f"weight_hh.{i}": (settings["model.weight_drop_rate"], (4 * h, h))
            for i, (_, h) in enumerate(dims)
        },
    }
    return {
        name: torch.rand(shape).ge_(rate).div_(1 - rate)
        for name, (rate, shape) in rate_and_shape.items()
    }


def training_loss(
    model: AWDLSTM,
    inputs: Tensor,
    targets: Tensor,
    carry: Carry,
    masks: Masks,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Carry]:
    """Mean NLL + alpha AR + beta TAR; the NLL alone; and the new carry."""
    logits, raw_hs, dropped_hs, carry = model(inputs, carry, masks)
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    tar = (raw_hs[1:] - raw_hs[:-1]).pow(2).mean()
    return nll + alpha * dropped_hs.pow(2).mean() + beta * tar, nll.detach(), carry


def random_tokens(settings: dict[str, Any], num_windows: int) -> Tensor:
    """Windows of inputs, each with the row that follows it, [windows, T + 1, B]."""
    shape = (num_windows, settings["train.bptt"] + 1, settings["train.batch_size"])
    tokens = np.random.RandomState(0).randint(settings["vocab_size"], size=shape)
    return torch.from_numpy(tokens)


class Train:
    """One training step after another, on windows of bptt tokens."""

    def __init__(self, settings: dict[str, Any], averaging: bool) -> None:
        self._settings = settings
        self.model = AWDLSTM(settings["vocab_size"], settings["layer_dims"])
        self._params = list(self.model.parameters())
        self._optimizer = torch.optim.SGD(
            self._params,
            lr=settings["optimizer.learning_rate"],  # times length / bptt, which is 1
            weight_decay=settings["optimizer.weight_decay"],
            fused=True,
        )
        self._average = [p.detach().clone() for p in self._params] if averaging else []
        self._carry = self.model.initial_carry(settings["train.batch_size"])
        self._tokens = random_tokens(settings, 1)[0]
        self._num_done = 0
        self._loss_sum = torch.zeros(())

    def run(self) -> None:
        """A step."""
        settings = self._settings
        loss, nll, self._carry = training_loss(
            self.model,
            self._tokens[:-1],
            self._tokens[1:],
            self._carry,
            sample_masks(settings),
            settings["train.activation_reg"],
            settings["train.temporal_activation_reg"],
        )
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._params, settings["optimizer.max_grad_norm"])
        self._optimizer.step()
        self._num_done += 1
        if self._average:
            with torch.no_grad():
                torch._foreach_lerp_(self._average, self._params, 1 / self._num_done)
        self._loss_sum += nll

    def finish(self) -> None:
        """Checks that the losses are finite, and that every parameter has a gradient."""
        if not self._loss_sum.isfinite():
            raise FloatingPointError(f"a loss of the first {self._num_done} is not finite")
        for name, param in self.model.named_parameters():
            if param.grad is None or not param.grad.any():
                raise RuntimeError(f"{name} has no gradient")


class Evaluate:
    """A pass of evaluation over a few windows."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._model = AWDLSTM(settings["vocab_size"], settings["layer_dims"]).eval()
        self._windows = random_tokens(settings, EVALUATED_WINDOWS)

    @torch.inference_mode()
    def run(self) -> None:
        """The whole pass."""
        carry = self._model.initial_carry(self._windows.shape[-1])
        nll_sum = 0.0
        for window in self._windows:
            logits, _, _, carry = self._model(window[:-1], carry)
            nll = F.cross_entropy(logits.flatten(0, 1), window[1:].flatten(), reduction="sum")
            nll_sum += nll.item()

    def finish(self) -> None:
        """There is nothing to wait for."""


class Products:
    """The bare matrix products of one kind in one training step, forward and backward."""

    def __init__(self, settings: dict[str, Any], kind: str) -> None:
        steps = (settings["train.bptt"], settings["train.batch_size"])
        self._arrays = [
            tuple(torch.randn(shape) for shape in ((*steps, d), (g, d), (*steps, g)))
            for d, g in settings[kind]
        ]
        self._is_recurrent = kind == "recurrent products"

    @torch.inference_mode()
    def run(self) -> None:
        """All of them: y = x w^T and its gradients."""
        for xs, w, d_ys in self._arrays:
            flat_xs, flat_d_ys = xs.flatten(0, 1), d_ys.flatten(0, 1)
            if self._is_recurrent:  # each step waits for the one before
                for x, d_y in zip(xs, d_ys, strict=True):
                    x @ w.T, d_y @ w
            else:
                flat_xs @ w.T, flat_d_ys @ w
            flat_d_ys.T @ flat_xs

    def finish(self) -> None:
        """There is nothing to wait for."""


def facts() -> dict[str, Any]:
    """Versions and threads."""
    return {
        "python of torch": platform.python_version(),
        "torch": torch.__version__,
        "threads of torch": torch.get_num_threads(),
    }


JOBS: dict[str, Callable] = {
    "train": partial(Train, averaging=False),
    "train, averaging": partial(Train, averaging=True),
    "evaluate": Evaluate,
    **{kind: partial(Products, kind=kind) for kind in PRODUCTS},
}

if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)  # as XLA does
    serve({"facts": facts}, JOBS)
