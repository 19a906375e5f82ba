"""Writes tests/interchange/golden_classifier.npz: a small ULMFiT classifier as fastai 2 saves it.

Needs torch and numpy, not jax:

    python experiments/make_golden_classifier.py

The file holds the state_dict (`state/...`), texts of unequal lengths `inputs`, `weights` [T, B] and
their `labels` [B]; the log-probabilities in evaluation, `log_probs` [B, K]; and of a training step
without dropout, in chunks of four tokens between which the state has no gradient, the mean `loss`,
its gradients (`grad/...`), and the running means after it (`after/...`). Weights are float32
numbers; the computation is in float64 and rounded once, at the end.
"""

import argparse
import copy
import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from make_golden_interchange import Encoder
from torch import Tensor, nn
from torch.nn import functional as F

OUT = Path(__file__).parents[1] / "tests" / "interchange" / "golden_classifier.npz"
V, K, SIZES, HEAD_DIM = 17, 3, [5, 7, 5], 6
T, LENGTHS, CHUNK = 11, [11, 8, 5, 2, 9], 4


class Head(nn.Module):
    """Names of fastai: layers.N.0 is batch normalisation, layers.N.2 the map."""

    def __init__(self):
        super().__init__()
        dims = [3 * SIZES[-1], HEAD_DIM, K]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.BatchNorm1d(d), nn.Dropout(0.0), nn.Linear(d, h, bias=False))
                for d, h in itertools.pairwise(dims)
            )
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits."""
        first, second = self.layers
        return second(torch.relu(first(pooled)))


def pooled(encoder: Encoder, inputs: Tensor) -> Tensor:
    """The last, the largest and the mean features of each text, read in chunks."""
    batch_size = inputs.shape[1]
    carry = [(torch.zeros(1, batch_size, h).double(),) * 2 for h in SIZES[1:]]
    chunks = []
    for start in range(0, T, CHUNK):
        carry = [(h.detach(), c.detach()) for h, c in carry]
        hs, carry = encoder.features(inputs[start : start + CHUNK], carry)
        chunks.append(hs)
    hs = torch.cat(chunks)
    texts = [hs[:n, i] for i, n in enumerate(LENGTHS)]
    return torch.stack([torch.cat([t[-1], t.max(0).values, t.mean(0)]) for t in texts])


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are no options but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """Computes and writes the file."""
    torch.manual_seed(0)
    encoder = Encoder(SIZES, V, "encoder_dp.emb", raw_inside=False, keeps_dropped=False)
    wrapper, head = nn.Module(), Head()
    wrapper.module = encoder
    model = nn.Sequential(wrapper, head)
    for block in head.layers:
        nn.init.uniform_(block[0].weight, 0.5, 1.5)
        nn.init.uniform_(block[0].bias, -0.5, 0.5)
        nn.init.uniform_(block[0].running_mean, -0.5, 0.5)
        nn.init.uniform_(block[0].running_var, 0.5, 1.5)
    state = copy.deepcopy(model.state_dict())
    model.double()
    for rnn in encoder.rnns:
        rnn.raw[0] = rnn.weight_hh_l0_raw
    inputs, labels = torch.randint(V, (T, len(LENGTHS))), torch.randint(K, (len(LENGTHS),))
    model.eval()
    log_probs = F.log_softmax(head(pooled(encoder, inputs)), dim=1)
    model.train()
    loss = F.cross_entropy(head(pooled(encoder, inputs)), labels)
    loss.backward()
    arrays = {f"state/{name}": value for name, value in state.items()}
    arrays |= {f"grad/{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    arrays |= {f"after/{n}": b for n, b in model.named_buffers() if "running" in n}
    weights = np.arange(T)[:, None] < np.array(LENGTHS)
    rounded = {
        name: array.detach().numpy().astype(np.float32)
        for name, array in (arrays | {"log_probs": log_probs, "loss": loss}).items()
    }
    np.savez_compressed(
        OUT,
        **rounded,
        inputs=inputs.numpy().astype(np.int32),
        weights=weights.astype(np.float32),
        labels=labels.numpy().astype(np.int32),
    )
    print(OUT, OUT.stat().st_size, "bytes", *state)


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
