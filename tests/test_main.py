"""The command as a user types it: what it says, how it exits, what it leaves behind."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.many import SECONDS, forced_devices, with_root

ROOT = Path(__file__).parents[1]
PTB = f"--config={ROOT}/configs/ptb.py"
SMOKE = f"--config={ROOT}/configs/quickstart.py:smoke"

BAD_INPUTS = {
    "no config": ([], "--config: is missing"),
    "no such config": (["--config=gs://b/none.py:smoke"], "gs://b/none.py:smoke: is no file, and"),
    "directory as config": ([f"--config={ROOT}/configs"], "configs: is a directory"),
    "fields, no recipe": (["--config=configs/models.py:smoke"], "configs/models.py:smoke: is no"),
    "unknown variant": ([f"{PTB}:tiny"], "'tiny'"),
    "unknown flag": ([SMOKE, "--confg=1"], "Did you mean: config"),
    "unknown field": ([SMOKE, "--config.optimizer.learning_rat=1"], "learning_rate"),
    "field like no other": ([SMOKE, "--config.model.xyz=1"], "xyz"),
    "unknown group": ([SMOKE, "--config.optimiser.learning_rate=1"], "optimizer"),
    "wrong type": ([SMOKE, "--config.model.num_layers=2.5"], "num_layers=2.5"),
    "rate of 1": ([SMOKE, "--config.model.weight_drop_rate=1.0"], "[0, 1)"),
    "unknown task": ([SMOKE, "--task=fly"], "train|evaluate"),
    "stray argument": ([SMOKE, "--workdir", "config", "evaluate"], "evaluate: is not a flag"),
    "no such directory": ([SMOKE, "--config.data.dir=/none"], "/none"),
    "text without directory": ([SMOKE, "--config.data.corpus=text"], "--config.data.dir"),
    "cache in a file": ([SMOKE, f"--config.data.cache_dir={__file__}"], "used (File exists)"),
    "corpus shorter than a batch": (
        [SMOKE, "--config.data.max_tokens=9"],
        "config.train.batch_size = 8: 9 tok",
    ),
    "batch that devices do not divide": ([SMOKE, "--config.train.batch_size=9"], "2 devices"),
    "half of the flags of several processes": (
        [SMOKE, "--num_processes=2"],
        "--process_id: missing",
    ),
    "task for one process": (
        [SMOKE, "--task=generate", "--distributed"],
        "--task=generate: runs in one process",
    ),
    "no file of flags": ([SMOKE, "--flagfile=none"], "none"),
    "workdir at an address": (
        [SMOKE, "--workdir=gs://b/r"],
        "--workdir 'gs://b/r': must be a path",
    ),
    "workdir that reads as a pattern": ([SMOKE, "--workdir=ptb[lr=30]"], "'[' in its path"),
    "config without get_config": ([f"--config={__file__}"], "has no function get_config"),
    "no such backend": ([SMOKE], "JAX_PLATFORMS='none'", {"JAX_PLATFORMS": "none"}),
    "backend without its device": ([SMOKE], "JAX_PLATFORMS='rocm'", {"JAX_PLATFORMS": "rocm"}),
    "setting that jax refuses": ([SMOKE], "JAX_ENABLE_X64", {"JAX_ENABLE_X64": "maybe"}),
    "setting without meaning here": ([SMOKE], "JAX_DEBUG_INFS", {"JAX_DEBUG_INFS": "1"}),
    "setting that forbids": ([SMOKE], "JAX_TRANSFER_GUARD", {"JAX_TRANSFER_GUARD": "disallow"}),
    "nothing to evaluate": ([SMOKE, "--task=evaluate"], "train first"),
}


def start(arguments, cwd, **variables):
    environment = {
        **os.environ,
        **with_root(),
        **forced_devices(2),
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
    arguments, told, *variables = BAD_INPUTS[what]
    process = start(arguments, tmp_path, **dict(*variables))
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2, err
    assert out == ""
    assert err.startswith("awd_jax: ")
    assert err.count("\n") == 1
    assert told in err
    assert list(tmp_path.iterdir()) == []


BAD_CONFIGS = {
    "return None": "gives None, which is not a config",
    "raise SystemExit(0)": "SystemExit: 0",
    "raise KeyError('lang')": "KeyError: 'lang'",
}


@pytest.mark.parametrize("body", BAD_CONFIGS)
def test_a_config_that_gives_none_is_named_in_one_line(body, tmp_path):
    (tmp_path / "my.py").write_text(f"def get_config(variant=''):\n    {body}\n")
    out, err = start(["--config=my.py"], tmp_path).communicate(timeout=SECONDS)
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("awd_jax: ")
    assert BAD_CONFIGS[body] in err


def test_a_recipe_is_found_though_a_directory_has_configs_of_its_own(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").touch()
    recipe = "configs/quickstart.py"
    process = start([f"--config={recipe}:smoke", "--task=evaluate"], tmp_path)
    note, error = process.communicate(timeout=SECONDS)[1].splitlines()
    assert note == f"awd_jax: {recipe} is not here: the recipe is {ROOT}/{recipe}"
    assert "train first" in error


def test_the_default_workdir_is_named_by_the_config(tmp_path):
    process = start(
        [SMOKE, "--config.data.max_tokens=300", "--config.train.num_epochs=1"], tmp_path
    )
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert err == ""
    assert "the source itself | perplexity 13.08" in out
    assert (tmp_path / "runs" / "quickstart-smoke" / "result.json").exists()


def test_help_lists_tasks_flags_and_fields(tmp_path):
    out, err = start(["--help"], tmp_path).communicate(timeout=SECONDS)
    assert err == ""
    for name in ("evaluate ", "--workdir ", "--config.train.bptt "):
        assert f"\n  {name}" in out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A directory with a run of one epoch; its checkpoints are above a megabyte each."""
    directory = tmp_path_factory.mktemp("finished")
    out, err = start(go_on(1), directory).communicate(timeout=SECONDS)
    assert "epoch 1 |" in out, err
    return directory


@pytest.fixture
def run(finished, tmp_path):
    """Goes on with a copy of it, up to an epoch."""
    shutil.copytree(finished / "run", tmp_path / "run")
    processes = []

    def run_until(epoch):
        process = start(go_on(epoch), tmp_path)
        processes.append(process)
        return process

    yield run_until
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(said, process):
    """The first line with these words."""
    for line in process.stdout:
        if said in line:
            return line
    raise AssertionError(process.stderr.read())


def go_on(epoch):
    return [
        SMOKE,
        "--workdir=run",
        "--config.model.hidden_dim=200",
        "--config.train.checkpoint_steps=5",
        f"--config.train.num_epochs={epoch}",
    ]


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops_and_the_same_command_goes_on(run, signum, exit_code):
    process = run(10000)
    wait_for("resumed in epoch 2 at window 0", process)
    second = run(10000)
    _, err = second.communicate(timeout=SECONDS)
    assert second.returncode == 2
    assert f"awd_jax: workdir run: another run uses it (process {process.pid} on " in err
    process.send_signal(signum)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == exit_code
    assert err.startswith(f"awd_jax: stopped by {signum.name} in ")
    assert err.count("\n") == 1
    assert "at window 0" not in wait_for("resumed in epoch", run(10000))


def test_a_run_outlives_its_reader_and_other_tasks_end_with_theirs(run, tmp_path):
    process = run(2)
    process.stdout.readline()
    process.stdout.close()
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    told = "awd_jax: standard output cannot be written (Broken pipe): the run goes on "
    assert err == told + "and prints no more; its logs are in run\n"
    result = (tmp_path / "run" / "result.json").read_bytes()
    process = start([*go_on(2), "--task=evaluate"], tmp_path)
    process.stdout.close()
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "run" / "evaluate.json").read_bytes() == result


def test_without_a_device_other_tasks_end_as_training_does(run, tmp_path):
    process = start([*go_on(1), "--task=evaluate"], tmp_path, JAX_PLATFORMS="rocm")
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert err.startswith("awd_jax: jax with JAX_PLATFORMS='rocm': finds no device")
    assert err.count("\n") == 1


def test_a_full_disk_stops_the_run_and_leaves_what_was_saved(run):
    # A limit on the size of a file fails in the same calls, and needs no disk to fill.
    process = run(2)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    last = err.splitlines()[-1]
    assert last.startswith("awd_jax: checkpoint in ")
    assert "cannot be written (File too large); checkpoints before it are whole" in last
    process = run(2)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "resumed in epoch 2 at window 0" in out
    assert "epoch 2 |" in out
