import shutil

import jax
import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.train.checkpoint import Checkpoints
from awd_jax.train.meta import Identity, Progress
from awd_jax.train.optimizer import make_optimizer
from awd_jax.train.state import init_state, make_model
from configs import default

VOCABULARY = ("<eos>", "a", "b")


def make_state(step: int, num_devices: int = 1, hidden_dim: int = 6):
    config = default.get_config("smoke")
    config.model.hidden_dim = hidden_dim
    model = make_model(config.model, len(VOCABULARY))
    state = init_state(model, make_optimizer(config.optimizer), step, 4, num_devices)
    return state._replace(
        step=state.step + step,
        carry=jax.tree.map(
            lambda s: np.random.RandomState(step).rand(*s.shape).astype(np.float32), state.carry
        ),
    )


@pytest.fixture
def open_checkpoints(tmp_path):
    def open_them(vocabulary=VOCABULARY, seed=0):
        identity = Identity({"train.seed": seed}, vocabulary)
        return Checkpoints(tmp_path / "checkpoints", identity)

    return open_them


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_everything_comes_back_bit_for_bit(open_checkpoints):
    state, progress = make_state(7), Progress(epoch=2, window=5, log_bytes=99)
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(make_state(0)) is None
        checkpoints.save(state, progress)
    with open_checkpoints() as checkpoints:
        restored, where, notes = checkpoints.restore_latest(make_state(0))
    assert (where, notes) == (progress, ())
    assert_equal(restored, state)


def test_a_run_can_go_on_with_another_number_of_devices(open_checkpoints):
    state = make_state(7, num_devices=4)
    with open_checkpoints() as checkpoints:
        checkpoints.save(state, Progress(1, 1, 0))
        checkpoints.wait()
        restored, *_ = checkpoints.restore_latest(make_state(0, num_devices=2))
    assert restored.carry[0].h.shape == (2, 2, 6)
    np.testing.assert_array_equal(restored.carry[0].h.reshape(4, 6), state.carry[0].h.reshape(4, 6))


def test_the_two_latest_and_the_best_are_kept(open_checkpoints, tmp_path):
    losses = {10: 3.0, 15: np.inf, 20: 1.0, 25: np.inf, 30: 2.0, 35: np.inf, 40: 1.0}
    with open_checkpoints() as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(make_state(step), Progress(1, step, 0), loss)
    with open_checkpoints() as checkpoints:
        assert checkpoints.best_loss() == 1.0
        assert checkpoints.restore_best(make_state(0)).step == 20
        assert checkpoints.restore_latest(make_state(0)).state.step == 40
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {20, 35, 40}


def test_in_the_midst_of_the_first_epoch_there_is_no_best(open_checkpoints):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
        assert checkpoints.best_loss() == np.inf
        with pytest.raises(InputError, match="holds no finished epoch"):
            checkpoints.restore_best(make_state(0))
        with pytest.raises(InputError, match="holds no finished epoch"):
            checkpoints.best_meta()


def test_another_vocabulary_is_refused(open_checkpoints):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
    with (
        open_checkpoints(vocabulary=("<eos>", "b", "a")) as checkpoints,
        pytest.raises(InputError, match="vocabulary"),
    ):
        checkpoints.restore_latest(make_state(0))


def test_another_config_is_refused(open_checkpoints):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
    with (
        open_checkpoints(seed=1) as checkpoints,
        pytest.raises(InputError, match=r"train\.seed = 0 there, 1 here"),
    ):
        checkpoints.restore_latest(make_state(0))


def test_a_reader_that_knows_nothing_learns_it_from_the_best(open_checkpoints, tmp_path):
    with open_checkpoints(seed=5) as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0), 1.0)
        checkpoints.save(make_state(6), Progress(1, 6, 0), 2.0)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        meta = checkpoints.best_meta()
        assert (meta["fields"], tuple(meta["vocabulary"])) == ({"train.seed": 5}, VOCABULARY)
        assert checkpoints.restore_best(make_state(0)).step == 3


def test_another_shape_is_refused(open_checkpoints):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
        checkpoints.wait()
        with pytest.raises(InputError, match=r"must be float32"):
            checkpoints.restore_latest(make_state(0, hidden_dim=7))


def data_file(tmp_path, step):
    """The file with most of the arrays' bytes."""
    files = (tmp_path / "checkpoints" / str(step) / "state").rglob("*")
    return max((path for path in files if path.is_file()), key=lambda path: path.stat().st_size)


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES = [flip_a_bit, truncate, lambda file: file.unlink()]


def meta_file(tmp_path, step):
    return tmp_path / "checkpoints" / str(step) / "meta" / "metadata"


def metrics_file(tmp_path, step):
    return tmp_path / "checkpoints" / str(step) / "metrics" / "metrics"


def manifest(tmp_path, step):
    return tmp_path / "checkpoints" / str(step) / "state" / "manifest.ocdbt"


@pytest.mark.parametrize("find", [data_file, meta_file, metrics_file, manifest])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    open_checkpoints, tmp_path, find, damage
):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
        checkpoints.save(make_state(6), Progress(1, 6, 0))
    damage(find(tmp_path, 6))
    with open_checkpoints() as checkpoints:
        state, progress, (note,) = checkpoints.restore_latest(make_state(0))
        assert (state.step, progress.window) == (3, 3)
        assert "checkpoints/6: " in note
        assert "; it is now damaged-6-" in note
        checkpoints.save(make_state(6), Progress(1, 6, 0))  # its place is free again
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(make_state(0)).state.step == 6


def test_of_a_half_written_directory_the_one_before_is_used(open_checkpoints, tmp_path):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
        checkpoints.save(make_state(6), Progress(1, 6, 0))
    shutil.rmtree(tmp_path / "checkpoints" / "6" / "state")
    shutil.rmtree(tmp_path / "checkpoints" / "6" / "metrics")
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(make_state(0)).state.step == 3


@pytest.mark.parametrize("find", [data_file, metrics_file])
@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_checkpoint_nothing_is_touched(open_checkpoints, tmp_path, find, damage):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_state(3), Progress(1, 3, 0))
    damage(find(tmp_path, 3))
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(InputError, match=r"checkpoint .*checkpoints/3"),
        open_checkpoints() as checkpoints,
    ):
        checkpoints.restore_latest(make_state(0))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_kill_left_of_a_discarded_checkpoint_is_deleted(open_checkpoints, tmp_path):
    with open_checkpoints() as checkpoints:
        for step in (3, 6, 9, 12):  # the best and the two latest are kept
            checkpoints.save(make_state(step), Progress(1, step, 0))
        checkpoints.wait()
        discarded = tmp_path / "checkpoints" / "discarded"
        assert [path.name for path in discarded.iterdir()] == ["6"]
        shutil.copytree(discarded, tmp_path / "left")
    assert not discarded.exists()
    shutil.rmtree(tmp_path / "left" / "6" / "metrics")
    shutil.copytree(tmp_path / "left", discarded)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.restore_latest(make_state(0)).state.step == 12
    assert discarded.exists()  # a reader leaves everything as it is
    with open_checkpoints() as checkpoints:
        assert not discarded.exists()
        assert checkpoints.restore_latest(make_state(0)).state.step == 12
