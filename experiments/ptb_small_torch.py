"""Trains the recipe of a run in PyTorch, so that the perplexities of the two can be compared.

    python experiments/ptb_small_torch.py --config=runs/ptb_small/config.json --data=DIR --seed=1

It needs torch and numpy, and nothing of awd_jax: corpus, windows, model, averaging and evaluation
are read anew from Merity et al. 2018; model, masks and loss are those that benchmark_torch.py
times. The config.json is that of a run of awd_jax, whose recipe must be a weight-dropped LSTM under
SGD. Writes config.json, metrics.jsonl, timing.jsonl and result.json into --workdir, under the names
that runs of awd_jax have. Set GLIBC_TUNABLES as benchmark.py does for `torch tuned` to save time.
"""

import argparse
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.arguments import at_least, directory_with, file
from experiments.benchmark_torch import AWDLSTM, sample_masks, training_loss

SPLITS = ("train", "valid", "test")
# What this program does; a recipe that wants something else is another one.
DONE = {
    "data.level": "word",
    "data.vocabulary": "all",
    "data.backward": False,
    "data.max_tokens": 0,
    "model.name": "recurrent",
    "model.cell": "lstm",
    "model.softmax": "tied",
    "model.dropout_kind": "locked",
    "model.forget_gate_bias": 0.0,
    "model.cap_input_gate": False,
    "model.residual": False,
    "model.sum_outputs": False,
    "model.state_dropout_rate": 0.0,
    "model.dtype": "float32",
    "model.input_weight_drop_rate": 0.0,
    "optimizer.name": "sgd",
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 0,
    "optimizer.base_batch_size": 0,
    "optimizer.embed_rate_factor": 1.0,
    "optimizer.layer_rate_factor": 1.0,
    "optimizer.thaw_epochs": 0,
    "optimizer.decay_epochs": [],
    "optimizer.plateau_factor": 1.0,
    "train.random_windows": True,
    "train.best_by": "nll",
    "train.measures": [],
}


def read_corpus(directory: Path) -> tuple[list[Tensor], int]:
    """The ids of each split, by first appearance, and how many kinds of tokens there are."""
    ids: dict[str, int] = {}
    splits = []
    for split in SPLITS:
        with (directory / f"{split}.txt").open(encoding="utf-8") as lines:
            tokens = (token for line in lines for token in [*line.split(), "<eos>"])
            splits.append(torch.tensor([ids.setdefault(token, len(ids)) for token in tokens]))
    return splits, len(ids)


def batchify(tokens: Tensor, batch_size: int) -> Tensor:
    """The tokens as parallel streams [rows, B], without the remainder."""
    num_rows = len(tokens) // batch_size
    return tokens[: num_rows * batch_size].view(batch_size, num_rows).t().contiguous()


def random_windows(stream: Tensor, bptt: int, random: np.random.RandomState) -> Iterator[Tensor]:
    """The windows of an epoch, each with the row that follows it, [T + 1, B]."""
    start = 0
    while start < len(stream) - 2:  # TAR needs two steps, so a single last row is left out
        base = bptt if random.random_sample() < 0.95 else bptt / 2
        length = max(5, int(random.normal(base, 5)))
        yield stream[start : start + length + 1]
        start += length


@torch.inference_mode()
def evaluate(model: AWDLSTM, stream: Tensor, length: int) -> float:
    """Mean NLL of all targets of a stream."""
    carry = model.initial_carry(stream.shape[1])
    total = 0.0
    for start in range(0, len(stream) - 1, length):
        window = stream[start : start + length + 1]
        logits, _, _, carry = model(window[:-1], carry)
        nlls = F.cross_entropy(logits.flatten(0, 1), window[1:].flatten(), reduction="sum")
        total += nlls.item()
    return total / (len(stream) - 1) / stream.shape[1]


class Trainer:
    """The model of a run with its optimizer and its average."""

    def __init__(self, config: dict[str, Any], vocab_size: int) -> None:
        sides = [config["model.hidden_dim"]] * (config["model.num_layers"] - 1)
        dims = [config["model.embed_dim"], *sides, config["model.last_hidden_dim"]]
        dims[-1] = dims[-1] or dims[0]
        self._config = config | {
            "vocab_size": vocab_size,
            "layer_dims": list(itertools.pairwise(dims)),
        }
        self.model = AWDLSTM(vocab_size, self._config["layer_dims"])
        self._params = list(self.model.parameters())
        decay = config["optimizer.weight_decay"]  # added to the gradient after it is clipped
        self._optimizer = torch.optim.SGD(self._params, lr=1.0, weight_decay=decay, fused=True)
        self._average = [torch.zeros_like(p) for p in self._params]
        self._history: list[float] = []
        self.is_averaging = False
        self.num_averaged = 0
        self.step = 0

    def train_epoch(self, windows: Iterator[Tensor]) -> dict[str, float]:
        """Trains on the windows; returns the means over them."""
        config = self._config
        carry = self.model.initial_carry(config["train.batch_size"])
        nlls = norms = 0.0
        num_tokens = num_windows = 0
        for window in windows:
            loss, nll, carry = training_loss(
                *(self.model, window[:-1], window[1:], carry, sample_masks(config)),
                config["train.activation_reg"],
                config["train.temporal_activation_reg"],
            )
            self._optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self._params, config["optimizer.max_grad_norm"])
            length = len(window) - 1
            rate = config["optimizer.learning_rate"] * length / config["train.bptt"]
            self._optimizer.param_groups[0]["lr"] = rate
            self._optimizer.step()
            self._add_to_average()
            self.step += 1
            nlls += nll.item() * window[1:].numel()
            norms += norm.item()
            num_tokens += window[1:].numel()
            num_windows += 1
        return {"train_nll": nlls / num_tokens, "grad_norm": norms / num_windows}

    @torch.no_grad()
    def _add_to_average(self) -> None:
        if self.is_averaging:
            self.num_averaged += 1
            torch._foreach_lerp_(self._average, self._params, 1 / self.num_averaged)

    def evaluated(self) -> AWDLSTM:
        """A copy of the model; of the average, once there is one."""
        model = AWDLSTM(self._config["vocab_size"], self._config["layer_dims"])
        source = self._average if self.num_averaged else self._params
        with torch.no_grad():
            for param, value in zip(model.parameters(), source, strict=True):
                param.copy_(value)
        return model

    def observe(self, nll: float) -> None:
        """Begins to average if a validation is worse than the best but those of late."""
        nonmono = self._config["optimizer.nonmono"]
        older = self._history[: max(len(self._history) - nonmono, 0)]
        if self._config["optimizer.averaging"] and older and nll > min(older):
            self.is_averaging = True
        self._history.append(nll)


def read_config(options: argparse.Namespace) -> dict[str, Any]:
    """The recipe, with the options in it."""
    config = json.loads(options.config.read_text(encoding="utf-8"))
    config["train.seed"] = options.seed
    config["train.num_epochs"] = options.num_epochs or config["train.num_epochs"]
    for name, value in DONE.items():
        if config.get(name, value) != value:
            sys.exit(f"{options.config}: {name} = {config[name]!r}: must be {value!r}")
    return config | {"torch": torch.__version__}


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=file, required=True, help="config.json of a run")
    data = directory_with(*(f"{split}.txt" for split in SPLITS))
    parser.add_argument("--data", type=data, required=True, help="directory of the corpus")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--num_epochs", type=at_least(1), help="default: the config's")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ptb_small_torch"))
    options = parser.parse_args(argv)
    if (options.workdir / "metrics.jsonl").exists():
        parser.error(f"--workdir={options.workdir}: holds a run; give another one")
    return options


def main(options: argparse.Namespace) -> None:
    """Trains, and tests the best model."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_flush_denormal(True)  # as XLA does
    torch.manual_seed(options.seed)
    random = np.random.RandomState(options.seed)
    config = read_config(options)
    bptt = config["train.bptt"]
    splits, vocab_size = read_corpus(options.data)
    sizes = [config[f"train.{name}batch_size"] for name in ("", "valid_", "test_")]
    train, valid, test = map(batchify, splits, sizes)
    trainer = Trainer(config, vocab_size)
    num_params = sum(p.numel() for p in trainer.model.parameters())
    print(f"{vocab_size:,} kinds, {num_params:,} parameters, torch {torch.__version__}", flush=True)
    options.workdir.mkdir(parents=True, exist_ok=True)
    (options.workdir / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    best_nll, best = math.inf, trainer.model
    with (
        (options.workdir / "metrics.jsonl").open("w") as metrics,
        (options.workdir / "timing.jsonl").open("w") as timing,
    ):
        for epoch in range(1, config["train.num_epochs"] + 1):
            started = time.perf_counter()
            means = trainer.train_epoch(random_windows(train, bptt, random))
            trained = time.perf_counter()
            model = trainer.evaluated()
            nll = evaluate(model, valid, bptt)
            seconds = {
                "train_seconds": trained - started,
                "valid_seconds": time.perf_counter() - trained,
            }
            averaged = {"num_averaged": trainer.num_averaged}
            values = {"epoch": epoch, **means, "valid_nll": nll, **averaged}
            print(json.dumps({"step": trainer.step, **values}), file=metrics, flush=True)
            print(json.dumps({"step": trainer.step, **seconds}), file=timing, flush=True)
            print(
                f"epoch {epoch} | {sum(seconds.values()):.0f} s"
                f" | train perplexity {math.exp(means['train_nll']):.2f}"
                f" | valid perplexity {math.exp(nll):.2f}"
                + " | best so far" * (nll < best_nll)
                + f" | average of {trainer.num_averaged:,} steps" * (trainer.num_averaged > 0),
                flush=True,
            )
            if nll < best_nll:
                best_nll, best = nll, model
            trainer.observe(nll)
    result = {}
    for split, nll in (("valid", best_nll), ("test", evaluate(best, test, bptt))):
        result[f"{split}_nll"] = nll
        result[f"{split}_perplexity"] = math.exp(nll)
        result[f"{split}_bits"] = nll / math.log(2)
        print(f"best model | {split} perplexity {math.exp(nll):.2f}")
    result["num_epochs"] = config["train.num_epochs"]
    (options.workdir / "result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(parse_arguments(sys.argv[1:]))
