"""The worker of seq2seq_speed.py that runs PyTorch: the same model, loss and optimizer.

Layers that can take all steps at once are torch's own; what must go step by step, as the layer that
asks in `gnmt` and all of decoding, uses `torch.lstm_cell`. Nothing is masked: no token is padding.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.seq2seq_cases import CASES, MAX_GRAD_NORM, RATE, make_texts, measure

TORCH_NAMES = {"w_x": "weight_ih", "w_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
State = tuple[Tensor, Tensor]


def make_lstm(params: dict[str, Tensor], name: str) -> nn.LSTM:
    """The layer with our parameters of this name."""
    is_both = f"{name}.forward.w_x" in params
    suffixes = {".forward": "", ".backward": "_reverse"} if is_both else {"": ""}
    first = params[f"{name}{next(iter(suffixes))}.w_x"]
    lstm = nn.LSTM(first.shape[0], first.shape[1] // 4, bidirectional=is_both)
    with torch.no_grad():
        for ours, theirs in suffixes.items():
            for part, torch_name in TORCH_NAMES.items():
                weight = getattr(lstm, f"{torch_name}_l0{theirs}")
                weight.copy_(params[f"{name}{ours}.{part}"].t())
    return lstm


def one_step(lstm: nn.LSTM, x: Tensor, state: State) -> State:
    """The state after one step of a layer."""
    weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
    return torch.lstm_cell(x, state, *weights)


class Seq2Seq(nn.Module):
    """A model with these parameters, under the names that ours have."""

    def __init__(self, sizes: dict[str, Any], params: dict[str, Tensor]) -> None:
        super().__init__()
        self.sizes = sizes
        self.is_gnmt = sizes["placement"] == "gnmt"
        self.source_embedding = nn.Parameter(params["source_embedding"])
        self.embedding = nn.Parameter(params["embedding"])
        self.encoder, self.decoder = (
            nn.ModuleList(make_lstm(params, f"{side}_{i}") for i in range(sizes[f"{side}_layers"]))
            for side in ("encoder", "decoder")
        )
        own = {n.split(".")[1]: p for n, p in params.items() if n.startswith("attention.")}
        self.scores = nn.ParameterDict({n: nn.Parameter(p) for n, p in own.items()})
        self.table = nn.Parameter(params["softmax.table"])
        self.bias = nn.Parameter(params["softmax.bias"])

    def is_residual(self, layer: int) -> bool:
        """Whether a layer, counted from 0, adds its inputs to its outputs."""
        return 0 < self.sizes["residual_from"] <= layer + 1

    def encode(self, sources: Tensor) -> tuple[Tensor, Tensor, list[State]]:
        """The memory [B, S, M], its keys, and the states that the decoder starts with."""
        xs, states = F.embedding(sources, self.source_embedding), []
        xs = xs.flip(0) if self.sizes["reverse_source"] else xs
        for i, layer in enumerate(self.encoder):
            hs, (h, c) = layer(xs)
            xs = xs + hs if self.is_residual(i) else hs
            states.append((h[-1], c[-1] if self.sizes["hand_over"] == "state" else 0 * c[-1]))
        memory = (xs.flip(0) if self.sizes["reverse_source"] else xs).transpose(0, 1).contiguous()
        keys = memory @ self.scores["w_memory"] if self.scores else memory
        return memory, keys, states

    def attend(self, queries: Tensor, memory: Tensor, keys: Tensor) -> Tensor:
        """The contexts [B, T, M] of queries [B, T, H]."""
        if self.scores:
            sums = (queries @ self.scores["w_query"])[:, :, None] + keys[:, None]
            scores = torch.tanh(sums) @ self.scores["v"]
        else:
            scores = torch.bmm(queries, keys.transpose(1, 2))
        return torch.bmm(scores.softmax(dim=-1), memory)

    def logits(self, features: Tensor) -> Tensor:
        """What the softmax reads."""
        return F.linear(features, self.table, self.bias)

    def forward(self, sources: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean NLL of targets [T, B]."""
        memory, keys, states = self.encode(sources)
        xs = F.embedding(inputs, self.embedding)
        if self.is_gnmt:
            state, context, outputs, contexts = states[0], torch.zeros_like(memory[:, 0]), [], []
            for x in xs:
                state = one_step(self.decoder[0], torch.cat([x, context], dim=-1), state)
                context = self.attend(state[0][:, None], memory, keys)[:, 0]
                outputs.append(state[0])
                contexts.append(context)
            features, beside = torch.stack(outputs), torch.stack(contexts)
            for i, (layer, (h, c)) in enumerate(zip(self.decoder[1:], states[1:], strict=True), 1):
                both = torch.cat([features, beside], dim=-1)
                hs, _ = layer(both, (h[None], c[None]))
                features = features + hs if self.is_residual(i) else hs
        else:
            ((layer, (h, c)),) = zip(self.decoder, states, strict=True)
            hs, _ = layer(xs, (h[None], c[None]))
            contexts = self.attend(hs.transpose(0, 1), memory, keys).transpose(0, 1)
            features = torch.cat([contexts, hs], dim=-1)
        return F.cross_entropy(self.logits(features).flatten(0, 1), targets.flatten())

    @torch.inference_mode()
    def decode(self, sources: Tensor, num_tokens: int) -> float:
        """The mean log-probability of the tokens of greedy decoding, which no token ends."""
        memory, keys, states = self.encode(sources)
        tokens, total = torch.zeros_like(sources[0]), torch.zeros(sources.shape[1])
        context, chosen = torch.zeros_like(memory[:, 0]), []
        for _ in range(num_tokens):
            x = F.embedding(tokens, self.embedding)
            if self.is_gnmt:
                x = torch.cat([x, context], dim=-1)
            for i, layer in enumerate(self.decoder):
                beside = [x, context] if self.is_gnmt and i else [x]
                states[i] = one_step(layer, torch.cat(beside, dim=-1), states[i])
                x = x + states[i][0] if self.is_residual(i) else states[i][0]
                if i == 0:
                    context = self.attend(x[:, None], memory, keys)[:, 0]
            features = x if self.is_gnmt else torch.cat([context, x], dim=-1)
            best, tokens = self.logits(features).log_softmax(dim=-1).max(dim=-1)
            total += best
            chosen.append(tokens)
        return (total.mean() / len(chosen)).item()


Runs = tuple[Callable[[], float], Callable[[], tuple[float, float]]]


def make_runs(case: dict[str, Any], params: dict[str, Tensor]) -> Runs:
    """Greedy decoding and a training step, as `measure` calls them."""
    model = Seq2Seq(case["model"], params)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True)
    texts = make_texts(case)
    sources, inputs, targets = (
        torch.from_numpy(ids).long() for ids in (texts.sources, texts.inputs, texts.targets)
    )

    def step() -> tuple[float, float]:
        loss = model(sources, inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()
        return loss.item(), norm.item()

    return lambda: model.decode(sources, len(targets)), step


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("params", type=Path)
    parser.add_argument("runs", type=int)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)  # as XLA does
    arrays = {name: torch.from_numpy(array) for name, array in np.load(options.params).items()}
    print(json.dumps(measure(*make_runs(CASES[options.case], arrays), options.runs)))
