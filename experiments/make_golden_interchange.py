"""Writes tests/interchange/golden_*.npz: small AWD-LSTMs as other programs save them.

Needs torch and numpy, not jax:

    python experiments/make_golden_interchange.py

Each file holds the state_dict of a model (`state/...`), token ids `inputs` [T, B], and what the
model computes for them in evaluation: `logits` [T, B, V] from a carry of zeros, and `later_logits`
of the same inputs from the carry after the first pass. The modules are built so that torch gives
their parameters the names that awd-lstm-lm and fastai use.

Weights are float32 numbers; the computation is in float64 and rounded once, at the end.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLDER = Path(__file__).parents[1] / "tests" / "interchange"
T, B = 9, 3

Carry = list[tuple[Tensor, Tensor]]


class HiddenToHidden(nn.Module):
    """An LSTM with weight drop: the raw recurrent weights are a parameter of it or its module."""

    def __init__(self, input_dim: int, hidden_dim: int, raw_inside: bool, keeps_dropped: bool):
        super().__init__()
        self.module = nn.LSTM(input_dim, hidden_dim)
        raw = nn.Parameter(self.module.weight_hh_l0.data)
        (self.module if raw_inside else self).register_parameter("weight_hh_l0_raw", raw)
        if keeps_dropped:  # left by the last training window; evaluation must not read it
            dropped = F.dropout(raw.data, 0.5, training=True)
            self.module.weight_hh_l0 = nn.Parameter(dropped)
        else:
            del self.module.weight_hh_l0
        self.raw = [raw]  # in a list, else torch would give it a second name

    def forward(self, xs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple]:
        """As in evaluation, with the raw weights."""
        lstm = nn.LSTM(self.module.input_size, self.module.hidden_size).double()
        weights = {n: p for n, p in self.module.named_parameters() if n != "weight_hh_l0_raw"}
        weights["weight_hh_l0"] = self.raw[0]
        return torch.func.functional_call(lstm, weights, (xs, state))


class Encoder(nn.Module):
    """Embedding and LSTMs."""

    def __init__(self, sizes: list[int], vocab_size: int, copy_name: str, **layout: bool):
        super().__init__()
        self.encoder = nn.Embedding(vocab_size, sizes[0])
        nn.init.uniform_(self.encoder.weight, -0.5, 0.5)
        if copy_name:  # "encoder_dp.emb": a module that holds the embedding again
            outer, inner = copy_name.split(".")
            self.add_module(outer, nn.Module())
            getattr(self, outer).add_module(inner, self.encoder)
        self.rnns = nn.ModuleList(
            HiddenToHidden(d, h, **layout) for d, h in itertools.pairwise(sizes)
        )

    def features(self, inputs: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        """Last layer's outputs, and the new carry."""
        hs, new_carry = self.encoder(inputs), []
        for rnn, state in zip(self.rnns, carry, strict=True):
            hs, state = rnn(hs, state)
            new_carry.append(state)
        return hs, new_carry


class Decoder(nn.Module):
    """A softmax tied to an embedding."""

    def __init__(self, embedding: nn.Embedding, bias: bool):
        super().__init__()
        vocab_size, embed_dim = embedding.weight.shape
        self.decoder = nn.Linear(embed_dim, vocab_size, bias=bias)
        self.decoder.weight = embedding.weight
        if bias:
            nn.init.uniform_(self.decoder.bias, -0.5, 0.5)


class AWDLSTMLM(Encoder):
    """Names of awd-lstm-lm: encoder, rnns.N.module..., decoder."""

    def __init__(self, sizes: list[int], vocab_size: int):
        super().__init__(sizes, vocab_size, "", raw_inside=True, keeps_dropped=False)
        self.decoder = Decoder(self.encoder, bias=True).decoder


def fastai(sizes: list[int], vocab_size: int, version: int) -> nn.Sequential:
    """Names of fastai: 0.encoder, 0.rnns.N..., 1.decoder."""
    if version == 0:  # fastai 0.7, whose softmax has no bias
        name, layout = "encoder_with_dropout.embed", {"raw_inside": True, "keeps_dropped": False}
    else:
        name, layout = "encoder_dp.emb", {"raw_inside": False, "keeps_dropped": version == 1}
    encoder = Encoder(sizes, vocab_size, name, **layout)
    return nn.Sequential(encoder, Decoder(encoder.encoder, bias=version > 0))


def write(name: str, model: nn.Module, encoder: Encoder, decoder: nn.Linear, sizes: list[int]):
    """Computes and writes one file."""
    state = {n: p.detach().numpy().copy() for n, p in model.state_dict().items()}
    model.double()
    for rnn in encoder.rnns:
        rnn.raw[0] = rnn.raw[0].double()
    inputs = torch.randint(decoder.out_features, (T, B))
    zeros = [(torch.zeros(1, B, h).double(), torch.zeros(1, B, h).double()) for h in sizes[1:]]
    hs, carry = encoder.features(inputs, zeros)
    later_hs, _ = encoder.features(inputs, carry)
    path = FOLDER / f"golden_{name}.npz"
    np.savez_compressed(
        path,
        **{f"state/{n}": a for n, a in state.items()},
        inputs=inputs.numpy().astype(np.int32),
        logits=decoder(hs).detach().numpy().astype(np.float32),
        later_logits=decoder(later_hs).detach().numpy().astype(np.float32),
    )
    print(path, path.stat().st_size, "bytes", *state)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are no options but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """Writes one file for each layout."""
    torch.manual_seed(0)
    sizes = [8, 12, 12, 8]
    model = AWDLSTMLM(sizes, vocab_size=23)
    write("awd_lstm_lm", model, model, model.decoder, sizes)
    for version in (0, 1, 2):
        model = fastai(sizes, 24, version)
        write(f"fastai_{version}", model, model[0], model[1].decoder, sizes)


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
