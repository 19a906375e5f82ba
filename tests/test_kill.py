"""A short run of experiments/kill.py: real processes, really killed."""

from pathlib import Path

from experiments import kill

ARGUMENTS = (
    f"--config={Path(__file__).parents[1]}/configs/quickstart.py:smoke",
    "--config.train.log_steps=3",
    "--config.train.checkpoint_steps=1",
    "--config.train.num_epochs=4",
    "--config.train.num_devices=1",
)


def test_a_killed_run_ends_bit_for_bit_where_the_undisturbed_one_does(tmp_path):
    kills, differences = kill.compare(tmp_path, ARGUMENTS, num_kills=3, seed=0)
    assert differences == []
    assert len(kills) == 3
    assert kills[0].in_save
