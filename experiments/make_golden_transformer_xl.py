"""Writes tests/interchange/golden_transformer_xl/: small Transformer-XLs, by PyTorch.

Runs without jax, in an environment of its own: the library has since withdrawn the model. Made with
Python 3.11, torch 2.13.0 and transformers 4.35.2:

    pip install torch transformers==4.35.2
    python experiments/make_golden_transformer_xl.py

Each file has the `state/NAME` arrays of a TransfoXLLMHeadModel with random parameters, its config
as JSON, `inputs` [S, T, B], S segments of a text in a row, and `log_probs` [S, T, B, V]. The memory
is empty before the first segment, as in the authors' code, partly filled before the second, and
filled before the third. (Left alone, the library starts with a memory of zeros, which are seen.)
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TransfoXLConfig, TransfoXLLMHeadModel

FOLDER = Path(__file__).parents[1] / "tests" / "interchange" / "golden_transformer_xl"
S, T, B = 3, 5, 2
COMMON = {
    "vocab_size": 40,
    "cutoffs": [10, 20],
    "d_model": 16,
    "d_embed": 16,
    "n_head": 2,
    "d_head": 6,  # 2 x 6 features of heads are fewer than d_model
    "d_inner": 24,
    "n_layer": 2,
    "mem_len": 8,
    "div_val": 1,
    "clamp_len": -1,
    "same_length": False,
    "pre_lnorm": False,
    "untie_r": False,
    "dropout": 0.0,
    "dropatt": 0.0,
}
MODELS: dict[str, dict[str, Any]] = {
    "one_softmax": {"cutoffs": [], "n_head": 3},
    "div_val_1": {"untie_r": True},
    "div_val_2": {"div_val": 2, "pre_lnorm": True, "untie_r": True},
    "div_val_4": {"div_val": 4, "clamp_len": 6},
    "same_length": {"div_val": 2, "same_length": True, "tie_projs": [True, True, True]},
}


def build(config: dict[str, Any]) -> TransfoXLLMHeadModel:
    """A model all of whose parameters are random, and none is 0."""
    settings = TransfoXLConfig(**config)  # unties the softmax's first projection
    settings.tie_projs = config.get("tie_projs", settings.tie_projs)
    model = TransfoXLLMHeadModel(settings).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = name.endswith("layer_norm.weight")
            parameter.normal_(mean=float(is_scale), std=0.3)
    return model


def write(name: str, config: dict[str, Any]) -> None:
    """Computes and writes one file."""
    model = build(config)
    state = {n: p.detach().numpy() for n, p in model.state_dict().items()}
    inputs = torch.randint(config["vocab_size"], (S, T, B))
    memory = [torch.empty(0, B, config["d_model"])] * config["n_layer"]
    log_probs = []
    with torch.no_grad():
        for segment in inputs:
            output = model(input_ids=segment.t(), mems=memory)
            memory = output.mems
            log_probs.append(output.prediction_scores.transpose(0, 1))  # [B, T, V] before
    columns = torch.stack(log_probs)
    assert torch.allclose(columns.exp().sum(-1), torch.ones(S, T, B), atol=1e-5)
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(
        path,
        **{f"state/{n}": a for n, a in state.items()},
        config=np.array(json.dumps(config)),
        inputs=inputs.numpy().astype(np.int32),
        log_probs=columns.numpy(),
    )
    print(f"{path.name}: {path.stat().st_size:,} bytes", *state)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """There are no options but --help."""
    return argparse.ArgumentParser(description=__doc__).parse_args(argv)


def main() -> None:
    """Writes one file for each model."""
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    for name, changes in MODELS.items():
        write(name, COMMON | changes)


if __name__ == "__main__":
    parse_arguments(sys.argv[1:])
    main()
