"""The command as a user types it: what it says, how it exits, what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PTB = f"--config={ROOT}/configs/ptb.py"
SMOKE = f"--config={ROOT}/configs/quickstart.py:smoke"

BAD_INPUTS = {
    "no config": ([], "--config: is missing"),
    "no such config": (["--config=configs/none.py"], "configs/none.py"),
    "unknown variant": ([f"{PTB}:tiny"], "'tiny'"),
    "unknown flag": ([SMOKE, "--confg=1"], "Did you mean: config"),
    "unknown field": ([SMOKE, "--config.optimizer.learning_rat=1"], "learning_rate"),
    "field like no other": ([SMOKE, "--config.model.xyz=1"], "xyz"),
    "unknown group": ([SMOKE, "--config.optimiser.learning_rate=1"], "optimizer"),
    "wrong type": ([SMOKE, "--config.model.num_layers=2.5"], "num_layers=2.5"),
    "rate of 1": ([SMOKE, "--config.model.weight_drop_rate=1.0"], "[0, 1)"),
    "unknown task": ([SMOKE, "--task=fly"], "train|evaluate"),
    "stray argument": ([SMOKE, "evaluate"], "evaluate"),
    "no such directory": ([SMOKE, "--config.data.dir=/none"], "/none"),
    "text without directory": ([SMOKE, "--config.data.corpus=text"], "--config.data.dir"),
    "corpus shorter than a batch": (
        [SMOKE, "--config.data.max_tokens=9"],
        "config.train.batch_size = 8: 9 tok",
    ),
    "batch that devices do not divide": ([SMOKE, "--config.train.batch_size=9"], "2 devices"),
    "no such backend": ([SMOKE], "JAX_PLATFORMS"),
    "nothing to evaluate": ([SMOKE, "--task=evaluate"], "train first"),
}


def start(arguments, cwd, **variables):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PJRT_NPROC": "4",
        **variables,
    }
    environment.pop("AWD_JAX_DATA", None)
    return subprocess.Popen(
        [sys.executable, "-m", "awd_jax.main", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("what", BAD_INPUTS)
def test_bad_input_gives_one_line_and_exit_code_2_and_leaves_nothing(what, tmp_path):
    arguments, told = BAD_INPUTS[what]
    variables = {"JAX_PLATFORMS": "none"} if what == "no such backend" else {}
    process = start(arguments, tmp_path, **variables)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert out == ""
    assert err.startswith("awd_jax: ")
    assert err.count("\n") == 1
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_the_default_workdir_is_named_by_the_config(tmp_path):
    process = start(
        [SMOKE, "--config.data.max_tokens=300", "--config.train.num_epochs=1"], tmp_path
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    assert "the source itself | perplexity 13.08" in out
    assert (tmp_path / "runs" / "quickstart-smoke" / "result.json").exists()
