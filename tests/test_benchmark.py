"""Every job of the benchmark at a tiny size, the whole command, and PyTorch's side where it is."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from awd_jax.core import blocks
from awd_jax.recipe import flatten
from configs import ptb
from experiments import benchmark, benchmark_jax
from experiments.benchmark_report import gflops

SIZES = {"vocab": 30, "embed": 8, "hidden": 12, "batch": 4, "time": 9}
SETTINGS = benchmark.make_settings(flatten(ptb.get_config()), SIZES)
KINDS = ("train", "train, averaging", "evaluate", *benchmark.PRODUCTS)
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", KINDS)
def test_each_job_runs(kind):
    job = benchmark_jax.JOBS[kind](SETTINGS)
    assert benchmark.run_for(job, 0) > 0


@pytest.mark.parametrize(("kind", "num_averaged"), [("train", 0), ("train, averaging", 3)])
def test_it_trains_and_averages_as_told(kind, num_averaged):
    job = benchmark_jax.JOBS[kind](SETTINGS)
    before = jax.device_get(job.state.params)
    for _ in range(3):
        job.run()
    job.finish()
    assert job.state.step == 3
    assert optax.tree.get(job.state.opt_state, "num_averaged") == num_averaged
    moved = jax.tree.map(lambda a, b: np.any(a != b), before, jax.device_get(job.state.params))
    assert all(jax.tree.leaves(moved))


def flops(kind):
    return 6 * sum(d * g for d, g in SETTINGS[kind]) * SIZES["batch"] * SIZES["time"]


def test_the_products_are_those_of_the_step():
    assert gflops(SIZES, num_layers=3) == pytest.approx(1e-9 * sum(map(flops, benchmark.PRODUCTS)))


@pytest.mark.parametrize("kind", ["input products", "softmax products"])  # XLA counts no loop
def test_the_bare_products_are_all_there(kind, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_LOGITS", 1)  # three blocks all the same
    jax.clear_caches()
    programs = benchmark_jax.Products(SETTINGS, kind).programs
    costs = [p.func.lower(*p.args).compile().cost_analysis()["flops"] for p in programs]
    assert sum(costs) == flops(kind)
    assert len(costs) == 6


def test_windows_of_the_recipe():
    settings = benchmark.make_settings(
        flatten(ptb.get_config()) | {"train.num_epochs": 3}, SIZES | {"batch": 20, "time": 70}
    )
    counts = benchmark_jax.programs(settings)["programs"]
    assert counts["programs"] <= 12 < counts["lengths"]
    assert 0 < counts["padding"] < 0.1


def test_the_command_writes_numbers_and_tables(tmp_path):
    sizes = [f"--{name}={value}" for name, value in SIZES.items()]
    command = [sys.executable, "experiments/benchmark.py", f"--out={tmp_path}", *sizes]
    options = ["--parts=scale", "--rounds=2", "--seconds=0", "--scale", "hidden=12", "batch=4"]
    subprocess.run([*command, *options], cwd=ROOT, check=True)
    (case,) = json.loads((tmp_path / "benchmark.json").read_text())["cases"]  # twice the same
    assert case["hidden"] == 12
    assert len(case["jax"]["train"]) == 2
    assert case["jax"]["memory_mib"] > 0
    assert "| vocab | hidden |" in (tmp_path / "benchmark.md").read_text()


def test_a_process_that_dies_is_a_case_that_failed():
    # The program `false` is no Python and no worker: it ends with exit code 1 at once.
    result = benchmark.measure({"jax": "false"}, None, SETTINGS, ("train",))
    assert result == {"failed": "experiments.benchmark_jax: exit code 1"}


class TestTorch:
    """Its side must compute what the golden file says: the same model, gradients through masks."""

    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="PyTorch is not installed")

    def test_loss_and_gradients_are_golden(self, torch):
        from experiments.benchmark_torch import AWDLSTM, training_loss

        golden = np.load(ROOT / "tests" / "models" / "golden_awd_lstm.npz")
        golden = {name: torch.from_numpy(golden[name]) for name in golden.files}
        model = AWDLSTM(23, [(8, 12), (12, 12), (12, 8)])
        under = {
            prefix: {n.removeprefix(prefix): x for n, x in golden.items() if n.startswith(prefix)}
            for prefix in ("param/", "mask/", "step/grad/")
        }
        model.load_state_dict(under["param/"])
        carry = [
            (golden[f"step/carry/h.{i}"][None], golden[f"step/carry/c.{i}"][None]) for i in range(3)
        ]
        window = golden["step/inputs"].long(), golden["step/targets"].long()
        loss, _, _ = training_loss(model, *window, carry, under["mask/"], alpha=2.0, beta=1.0)
        torch.testing.assert_close(loss.detach(), golden["step/loss"])
        loss.backward()
        for name, param in model.named_parameters():
            torch.testing.assert_close(
                param.grad, under["step/grad/"][name], rtol=1e-4, atol=1e-6, msg=name
            )

    @pytest.mark.parametrize("kind", KINDS)
    def test_each_job_runs(self, torch, kind):
        from experiments.benchmark_torch import JOBS

        assert benchmark.run_for(JOBS[kind](SETTINGS), 0) > 0
