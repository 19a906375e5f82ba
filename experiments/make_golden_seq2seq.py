"""Writes tests/models/golden_seq2seq.npz: what PyTorch computes for small models of two sequences.

Needs torch and numpy, not jax:

    python experiments/make_golden_seq2seq.py

Parameters are float32 numbers; the computation is in float64 and rounded once at the end. The
encoder is torch's own module on packed sequences. The decoder is written out, one step at a time:
torch's cells, attention and softmax, from the formulas of the papers.

All cases have one batch, whose sources and targets differ in length and whose padding is not 0:
`sources`, `source_weights` [S, B], `inputs`, `targets` and `weights` [T, B]. The arrays of each
case, with names such as `deep/learned.encoder_0.forward.w_x`:

- `fields`: those of our model, as JSON;
- `learned.NAME` [3, ...]: a parameter; its gradient of the mean NLL of a target; and the parameter
  after a step of SGD, with all gradients clipped to a norm of MAX_GRAD_NORM. Names and layouts are
  ours: w_x is [D, G], w_h [H, G], the gates in torch's order;
- `log_probs` [T, B, V] and `alignment` [T, B, S], which are 0 after the end of a target; `nll`,
  summed over the targets; `grad_norm`, before clipping.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PATH = Path(__file__).parents[1] / "tests" / "models" / "golden_seq2seq.npz"

SOURCE_LENGTHS, TARGET_LENGTHS = torch.tensor([4, 6, 1]), torch.tensor([5, 2, 3])
S, T, B = int(SOURCE_LENGTHS.max()), int(TARGET_LENGTHS.max()), len(SOURCE_LENGTHS)
RATE, MAX_GRAD_NORM = 0.5, 0.1
COMMON = {
    "vocab_size": 7,
    "source_vocab_size": 7,
    "embed_dim": 3,
    "hidden_dim": 4,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "cell": "lstm",
    "softmax": "separate",
    "share_embeddings": False,
    "reverse_source": False,
    "bidirectional": "none",
    "residual_from": 0,
    "hand_over": "state",
    "peeky": False,
    "placement": "softmax",
    "attended_dim": 0,
}
CASES: dict[str, dict[str, Any]] = {
    "both_ways": {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "bidirectional": "all",
        "attention": "additive",
        "placement": "luong",
    },
    "reversed": {"reverse_source": True, "hand_over": "h", "attention": "dot"},
    "fed": {
        "decoder_layers": 2,  # the upper one starts with zeros
        "bidirectional": "all",
        "attention": "general",
        "placement": "input_feeding",
        "attended_dim": 3,
        "softmax": "tied",
        "share_embeddings": True,
    },
    "deep": {
        "encoder_layers": 3,
        "decoder_layers": 3,
        "bidirectional": "bottom",
        "residual_from": 3,
        "attention": "additive",
        "placement": "gnmt",
    },
    "peeky": {
        "cell": "gru",
        "bidirectional": "all",
        "peeky": True,
        "attention": "normed_additive",
    },
}
MODULES = {"lstm": (nn.LSTM, nn.LSTMCell, 4), "gru": (nn.GRU, nn.GRUCell, 3)}  # and their gates
TORCH_NAMES = {"w_x": "weight_ih", "w_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}

Params = dict[str, Tensor]
Fields = dict[str, Any]


def directions(fields: Fields, layer: int) -> tuple[str, ...]:
    """What the names of our encoder's layer have at their end."""
    kind = fields["bidirectional"]
    is_both = kind == "all" or (kind == "bottom" and layer == 0)
    return (".forward", ".backward") if is_both else ("",)


def shapes_of(fields: Fields) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters."""
    vocab_size, embed_dim, hidden = (fields[n] for n in ("vocab_size", "embed_dim", "hidden_dim"))
    gates = MODULES[fields["cell"]][2] * hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocab_size, embed_dim)}
    if not fields["share_embeddings"]:
        shapes["source_embedding"] = (fields["source_vocab_size"], embed_dim)

    def add_layer(name: str, width: int) -> None:
        for part, shape in (("w_x", (width, gates)), ("w_h", (hidden, gates))):
            shapes[f"{name}.{part}"] = shape
        shapes[f"{name}.b_x"] = shapes[f"{name}.b_h"] = (gates,)

    memory = embed_dim
    for i in range(fields["encoder_layers"]):
        for direction in directions(fields, i):
            add_layer(f"encoder_{i}{direction}", memory)
        memory = hidden * len(directions(fields, i))

    attention, placement = fields["attention"], fields["placement"]
    attended = fields["attended_dim"] or hidden
    fed = {"input_feeding": attended, "gnmt": memory}.get(placement, 0)
    add_layer("decoder_0", embed_dim + memory * fields["peeky"] + fed)
    for i in range(1, fields["decoder_layers"]):
        add_layer(f"decoder_{i}", hidden + memory * (placement == "gnmt"))

    if attention == "general":
        shapes["attention.w"] = (memory, hidden)
    if "additive" in attention:
        shapes["attention.w_query"] = (hidden, hidden)
        shapes["attention.w_memory"] = (memory, hidden)
        shapes["attention.v"] = (hidden,)
    if attention == "normed_additive":
        shapes |= {"attention.b": (hidden,), "attention.g": ()}
    features = hidden
    if placement in ("luong", "input_feeding"):
        shapes["combine.w"] = (memory + hidden, attended)
        features = attended
    elif placement == "softmax":
        features += memory
    if fields["softmax"] == "separate":
        shapes["softmax.table"] = (vocab_size, features + memory * fields["peeky"])
    return shapes | {"softmax.bias": (vocab_size,)}


def turn(xs: Tensor) -> Tensor:
    """Each source [S, B, ...] from its last token to its first; padding stays."""
    columns = [
        torch.cat([xs[:n, b].flip(0), xs[n:, b]]) for b, n in enumerate(SOURCE_LENGTHS.tolist())
    ]
    return torch.stack(columns, dim=1)


def read(
    fields: Fields, params: Params, sources: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, ...]]]:
    """The memory [S, B, M], the summary [B, M], and what the decoder's layers may start with."""
    xs = params["embedding" if fields["share_embeddings"] else "source_embedding"][sources]
    xs = turn(xs) if fields["reverse_source"] else xs
    num_layers, states = fields["encoder_layers"], []
    # One module of several layers where torch has it; otherwise a module for each of them.
    is_one = fields["bidirectional"] != "bottom" and not fields["residual_from"]
    for first in (0,) if is_one else range(num_layers):
        layers = range(num_layers) if is_one else (first,)
        suffixes = directions(fields, first)
        module = MODULES[fields["cell"]][0](
            *(xs.shape[-1], fields["hidden_dim"], len(layers)),
            bidirectional=len(suffixes) == 2,
            dtype=torch.float64,
        )
        weights = {
            f"{theirs}_l{k}{torch_suffix}": params[f"encoder_{layer}{suffix}.{ours}"].t()
            for k, layer in enumerate(layers)
            for suffix, torch_suffix in zip(suffixes, ("", "_reverse"), strict=False)
            for ours, theirs in TORCH_NAMES.items()
        }
        packed = pack_padded_sequence(xs, SOURCE_LENGTHS, enforce_sorted=False)
        hs, last = functional_call(module, weights, (packed,), strict=True)
        hs, _ = pad_packed_sequence(hs, total_length=S)
        is_residual = 0 < fields["residual_from"] <= first + 1
        xs = xs + hs if is_residual else hs
        parts = last if isinstance(last, tuple) else (last,)
        parts = [part.unflatten(0, (len(layers), len(suffixes))) for part in parts]
        # The backward direction is the last one.
        states += [tuple(part[k, -1] for part in parts) for k in range(len(layers))]
        summary = torch.cat(list(parts[0][-1]), dim=-1)
    return turn(xs) if fields["reverse_source"] else xs, summary, states


def attend(fields: Fields, params: Params, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The context [B, M] and the weights [B, S] of one step."""
    p = {n.removeprefix("attention."): a for n, a in params.items() if n.startswith("attention.")}
    match fields["attention"]:
        case "dot":
            scores = torch.einsum("bh,sbh->bs", query, memory)
        case "general":
            scores = torch.einsum("bq,sbm,mq->bs", query, memory, p["w"])
        case "additive":
            sums = query @ p["w_query"] + memory @ p["w_memory"]
            scores = (torch.tanh(sums) @ p["v"]).t()
        case "normed_additive":
            sums = query @ p["w_query"] + memory @ p["w_memory"] + p["b"]
            unit = p["v"] / p["v"].square().sum().sqrt()
            scores = (torch.tanh(sums) @ (p["g"] * unit)).t()
    is_padding = torch.arange(S) >= SOURCE_LENGTHS[:, None]
    weights = scores.masked_fill(is_padding, -torch.inf).softmax(dim=-1)
    return torch.einsum("bs,sbm->bm", weights, memory), weights


def run(fields: Fields, params: Params, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probabilities [T, B, V] and weights of the attention [T, B, S]."""
    memory, summary, given = read(fields, params, batch["sources"])
    hidden, placement = fields["hidden_dim"], fields["placement"]
    num_parts = 2 if fields["cell"] == "lstm" else 1
    zeros = torch.zeros(B, hidden, dtype=torch.float64)
    states = [(zeros,) * num_parts] * fields["decoder_layers"]
    if fields["hand_over"] != "none":
        num_given = num_parts if fields["hand_over"] == "state" else 1
        for i, state in enumerate(given[: len(states)]):
            states[i] = (*state[:num_given], *states[i][num_given:])
    cells, weights_of = [], []
    for i in range(len(states)):
        weights = {
            theirs: params[f"decoder_{i}.{ours}"].t() for ours, theirs in TORCH_NAMES.items()
        }
        width = weights["weight_ih"].shape[1]
        cells.append(MODULES[fields["cell"]][1](width, hidden, dtype=torch.float64))
        weights_of.append(weights)
    fed_dim = {"input_feeding": fields["attended_dim"] or hidden, "gnmt": memory.shape[-1]}
    fed = torch.zeros(B, fed_dim.get(placement, 0), dtype=torch.float64)
    table = params["softmax.table" if fields["softmax"] == "separate" else "embedding"]

    log_probs, alignment = [], []
    for ids in batch["inputs"]:
        x = params["embedding"][ids]
        x = torch.cat([x, summary, fed] if fields["peeky"] else [x, fed], dim=-1)
        for i, cell in enumerate(cells):
            read_here = torch.cat([x, context], dim=-1) if placement == "gnmt" and i else x
            state = states[i] if num_parts == 2 else states[i][0]
            after = functional_call(cell, weights_of[i], (read_here, state), strict=True)
            states[i] = after if num_parts == 2 else (after,)
            x = states[i][0] + x if 0 < fields["residual_from"] <= i + 1 else states[i][0]
            if placement == "gnmt" and i == 0:
                context, attention = attend(fields, params, x, memory)
                fed = context
        if placement != "gnmt":
            context, attention = attend(fields, params, x, memory)
            x = torch.cat([context, x], dim=-1)
            if placement != "softmax":
                x = torch.tanh(x @ params["combine.w"])
            if placement == "input_feeding":
                fed = x
        if fields["peeky"]:
            x = torch.cat([summary, x], dim=-1)
        log_probs.append((x @ table.t() + params["softmax.bias"]).log_softmax(dim=-1))
        alignment.append(attention)
    return torch.stack(log_probs), torch.stack(alignment)


def one_case(changes: Fields, batch: dict[str, Tensor]) -> dict[str, Any]:
    """All arrays of one case."""
    fields = COMMON | changes
    params = {n: torch.empty(s).uniform_(-1, 1) for n, s in shapes_of(fields).items()}
    params = {n: p.double().requires_grad_() for n, p in params.items()}
    before = {n: p.detach().clone() for n, p in params.items()}
    log_probs, alignment = run(fields, params, batch)
    is_real = batch["weights"][:, :, None]
    nll = -(log_probs * is_real).gather(-1, batch["targets"][:, :, None]).sum()
    (nll / batch["weights"].sum()).backward()
    grads = {n: p.grad.clone() for n, p in params.items()}
    norm = nn.utils.clip_grad_norm_(list(params.values()), MAX_GRAD_NORM)
    assert norm > 2 * MAX_GRAD_NORM
    torch.optim.SGD(list(params.values()), lr=RATE).step()
    return {
        "fields": np.array(json.dumps(fields)),
        "log_probs": log_probs * is_real,
        "alignment": alignment * is_real,
        "nll": nll,
        "grad_norm": norm,
        **{f"learned.{n}": torch.stack([before[n], grads[n], p]) for n, p in params.items()},
    }


def sample_batch() -> dict[str, Tensor]:
    """Random tokens, of padding too."""
    text = torch.randint(COMMON["vocab_size"], (T + 1, B))
    return {
        "sources": torch.randint(COMMON["source_vocab_size"], (S, B)),
        "source_weights": (torch.arange(S)[:, None] < SOURCE_LENGTHS).float(),
        "inputs": text[:-1],
        "targets": text[1:],
        "weights": (torch.arange(T)[:, None] < TARGET_LENGTHS).float(),
    }


def to_numpy(x: Any) -> np.ndarray:
    """float32 or int32; what is an array already stays."""
    if isinstance(x, np.ndarray):
        return x
    return x.detach().numpy().astype(np.float32 if x.is_floating_point() else np.int32)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are none but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """Computes and writes the file."""
    torch.manual_seed(0)
    batch = sample_batch()
    golden = {name: to_numpy(x) for name, x in batch.items()}
    golden |= {"learning_rate": np.float32(RATE), "max_grad_norm": np.float32(MAX_GRAD_NORM)}
    for case, changes in CASES.items():
        golden |= {f"{case}/{n}": to_numpy(x) for n, x in one_case(changes, batch).items()}
    np.savez_compressed(PATH, **golden)
    print(PATH, len(golden), "arrays,", PATH.stat().st_size, "bytes")


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
