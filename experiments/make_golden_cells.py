"""Writes tests/core/golden_cells.npz: what PyTorch computes for one layer of each cell.

Needs torch and numpy, not jax:

    python experiments/make_golden_cells.py

Parameters, states, inputs and cotangents are float32 numbers; the computation is in float64 and
rounded once at the end. Layouts are ours: w_x is [D, G], w_h [H, G], the gates side by side in
torch's order (lstm i, f, g, o; gru and cho_gru r, z, n; qrnn z, f, o), time comes first.

Cells: `rnn` (tanh), `gru` and `lstm` are torch's modules. torch has no `cho_gru`, whose reset gate
is before the product with the recurrent weights; it is written out here, one sequence at a time.
So is `qrnn-1`, the QRNN of Bradbury et al. (2017), and `qrnn-2`, whose filter has width 2.

Cases: in `full` both sequences have T steps. In `ragged` the second one has 4: its outputs after
them are 0, its last state is that after step 4, and the inputs after them are not zero but are
not read. `bidirectional` is ragged, in both directions, each from its own state, for gru and lstm.

The arrays of each case, with names such as `gru/ragged/grads.state.h`:

- `params.w_x`, `params.w_h`, `params.b_x`, `params.b_h`; `state.h` and `state.c`, before the first
  step; `xs` [T, B, D]; `lengths`, a scalar in `full`, otherwise [B];
- `hs` [T, B, H], `last.h` and `last.c`: outputs and the last state;
- `cotangents.hs`, `cotangents.last.h`, `cotangents.last.c`: what each of those is multiplied by;
- `grads.w_x` to `grads.b_h`, `grads.state.h`, `grads.state.c`, `grads.xs`: the gradients of the sum
  of all these products.

Of these only lstm has a `c`. A qrnn has `params.w` [width * D, G], of the earlier input first,
`params.b` and `state.c`, and qrnn-2 `state.x`, the input before the first step. In `bidirectional`,
`forward` or `backward` comes before the last part, as in `params.forward.w_x`, `last.backward.h`
and `grads.state.forward.c`; `hs` is [T, B, 2H], forward first.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PATH = Path(__file__).parents[1] / "tests" / "core" / "golden_cells.npz"

T, B, D, H = 7, 2, 3, 4
LENGTHS = {"full": T, "ragged": [T, 4], "bidirectional": [T, 4]}
TORCH_NAMES = {"w_x": "weight_ih", "w_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
NUM_GATES = {"rnn": 1, "gru": 3, "lstm": 4, "cho_gru": 3}  # of the cells with a w_x and a w_h
FILTER_WIDTHS = {"qrnn-1": 1, "qrnn-2": 2}
MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
BOTH = {"forward.": "", "backward.": "_reverse"}  # what our names and torch's have for each
ONE = {"": ""}

Arrays = dict[str, Tensor]  # under the names of the file, without the case


def run_torch(cell: str, case: str, given: Arrays) -> Arrays:
    """Outputs and last state of torch's own module."""
    directions = BOTH if case == "bidirectional" else ONE
    module = MODULES[cell](D, H, bidirectional=directions is BOTH, dtype=torch.float64)
    weights = {
        f"{torchs}_l0{suffix}": given[f"params.{prefix}{ours}"].t()
        for prefix, suffix in directions.items()
        for ours, torchs in TORCH_NAMES.items()
    }
    parts = "hc" if cell == "lstm" else "h"
    state = [torch.stack([given[f"state.{p}{part}"] for p in directions]) for part in parts]
    state = tuple(state) if cell == "lstm" else state[0]
    if case == "full":
        hs, last = functional_call(module, weights, (given["xs"], state), strict=True)
    else:
        packed = pack_padded_sequence(given["xs"], torch.tensor(LENGTHS[case]))
        hs, last = functional_call(module, weights, (packed, state), strict=True)
        hs, _ = pad_packed_sequence(hs, total_length=T)
    named = {
        f"last.{prefix}{part}": s
        for part, both in zip(parts, last if cell == "lstm" else [last], strict=True)
        for prefix, s in zip(directions, both, strict=True)
    }
    return {"hs": hs, **named}


def run_cho_gru(_: str, case: str, given: Arrays) -> Arrays:
    """The same of the GRU of Cho et al. (2014): each sequence by itself, for as long as it is."""
    w_xr, w_xz, w_xn = given["params.w_x"].chunk(3, dim=1)
    w_hr, w_hz, w_hn = given["params.w_h"].chunk(3, dim=1)
    b_r, b_z, b_n = (given["params.b_x"] + given["params.b_h"]).chunk(3)
    outputs, last = [], []
    for b, length in enumerate(np.broadcast_to(LENGTHS[case], B)):
        h, hs = given["state.h"][b], []
        for x in given["xs"][:length, b]:
            r = torch.sigmoid(x @ w_xr + h @ w_hr + b_r)
            z = torch.sigmoid(x @ w_xz + h @ w_hz + b_z)
            n = torch.tanh(x @ w_xn + (r * h) @ w_hn + b_n)
            h = (1 - z) * n + z * h
            hs.append(h)
        outputs.append(torch.stack(hs + [torch.zeros_like(h)] * (T - length)))
        last.append(h)
    return {"hs": torch.stack(outputs, dim=1), "last.h": torch.stack(last)}


def run_qrnn(cell: str, case: str, given: Arrays) -> Arrays:
    """The same of the QRNN with fo-pooling."""
    w_z, w_f, w_o = given["params.w"].chunk(3, dim=1)
    b_z, b_f, b_o = given["params.b"].chunk(3)
    reads_before = FILTER_WIDTHS[cell] == 2
    outputs, last = [], {"c": [], "x": []}
    for b, length in enumerate(np.broadcast_to(LENGTHS[case], B)):
        c, hs = given["state.c"][b], []
        before = given["state.x"][b] if reads_before else None
        for x in given["xs"][:length, b]:
            read = torch.cat([before, x]) if reads_before else x
            z = torch.tanh(read @ w_z + b_z)
            f = torch.sigmoid(read @ w_f + b_f)
            o = torch.sigmoid(read @ w_o + b_o)
            c, before = f * c + (1 - f) * z, x
            hs.append(o * c)
        outputs.append(torch.stack(hs + [torch.zeros_like(c)] * (T - length)))
        last["c"].append(c)
        last["x"].append(before)
    parts = "cx" if reads_before else "c"
    named = {f"last.{part}": torch.stack(last[part]) for part in parts}
    return {"hs": torch.stack(outputs, dim=1), **named}


Shapes = dict[str, tuple[int, ...]]


def shapes_of(cell: str) -> tuple[Shapes, Shapes]:
    """Of the parameters, and of the state."""
    if cell in FILTER_WIDTHS:
        width = FILTER_WIDTHS[cell]
        state = {"c": (B, H), "x": (B, D)} if width == 2 else {"c": (B, H)}
        return {"w": (width * D, 3 * H), "b": (3 * H,)}, state
    gates = NUM_GATES[cell] * H
    params = {"w_x": (D, gates), "w_h": (H, gates), "b_x": (gates,), "b_h": (gates,)}
    return params, dict.fromkeys("hc" if cell == "lstm" else "h", (B, H))


def sample_given(cell: str, case: str) -> Arrays:
    """Parameters, a state that is not zero, and inputs."""
    params, state = shapes_of(cell)
    given = {}
    for prefix in BOTH if case == "bidirectional" else ONE:
        for name, shape in params.items():
            given[f"params.{prefix}{name}"] = torch.empty(shape).uniform_(-1, 1)
        for part, shape in state.items():
            given[f"state.{prefix}{part}"] = torch.randn(shape)
    given["xs"] = torch.randn(T, B, D)
    return {name: x.double().requires_grad_() for name, x in given.items()}


def one_case(cell: str, case: str, run: Callable[[str, str, Arrays], Arrays]) -> Arrays:
    """All arrays of one case."""
    given = sample_given(cell, case)
    results = run(cell, case, given)
    cotangents = {name: torch.randn(x.shape).double() for name, x in results.items()}
    total = sum((cotangents[name] * x).sum() for name, x in results.items())
    grads = torch.autograd.grad(total, list(given.values()))
    return {
        **given,
        "lengths": torch.tensor(LENGTHS[case]),
        **results,
        **{f"cotangents.{name}": x for name, x in cotangents.items()},
        **{f"grads.{n.removeprefix('params.')}": g for n, g in zip(given, grads, strict=True)},
    }


def to_numpy(x: Tensor) -> np.ndarray:
    """float32 or int32."""
    return x.detach().numpy().astype(np.float32 if x.is_floating_point() else np.int32)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are none but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """Computes and writes the file."""
    torch.manual_seed(0)
    golden = {}
    runs = {**dict.fromkeys(MODULES, run_torch), "cho_gru": run_cho_gru}
    runs |= dict.fromkeys(FILTER_WIDTHS, run_qrnn)
    for cell, run in runs.items():
        for case in LENGTHS if cell in ("gru", "lstm") else ("full", "ragged"):
            arrays = one_case(cell, case, run)
            golden |= {f"{cell}/{case}/{name}": to_numpy(x) for name, x in arrays.items()}
    np.savez_compressed(PATH, **golden)
    print(PATH, len(golden), "arrays,", PATH.stat().st_size, "bytes")


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
