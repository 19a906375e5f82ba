"""Checkpoints of any tree: that they come back, which are kept, and what damage does."""

import shutil
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import pytest

from awd_jax.errors import InputError, StorageError
from awd_jax.run import store
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, Manifest, Progress, Validation

VOCABULARY = ("<eos>", "a", "b")


class Tree(NamedTuple):
    """As a run has it: parameters twice, and a carry with memories of any rank, even empty."""

    step: np.ndarray
    params: dict[str, Any]
    opt_state: tuple[Any, ...]
    carry: tuple[np.ndarray, ...]


def make_tree(step: int, width: int = 6) -> Tree:
    random = np.random.RandomState(step)

    def make_params():
        inner = (random.rand(width).astype(ml_dtypes.bfloat16),)
        return {"a/b.c": random.rand(1000, width).astype(np.float32), "inner": inner}

    return Tree(
        step=np.int32(step),
        params=make_params(),
        opt_state=((), {"count": np.int32(3), "average": make_params()}),
        carry=(
            np.float32(random.rand(4)),
            np.float32(random.rand(4, 2, 3)),
            np.float32(random.rand(4, 0, 5)),
        ),
    )


def progress(step: int, epoch: int = 1, **more) -> Progress:
    return Progress(
        step,
        **{
            "epoch": epoch,
            "window": step,
            "log_bytes": 0,
            "best_nll": 9,
            "num_plateaus": 0,
            **more,
        },
    )


def save(checkpoints: Checkpoints, step: int, nll: float | None = None) -> None:
    validation = None if nll is None else Validation(nll, ".params")
    checkpoints.save(make_tree(step), progress(step), validation)


LIKE = make_tree(0)


@pytest.fixture
def open_checkpoints(tmp_path):
    def open_them(vocabulary=VOCABULARY, seed=0, source_vocabulary=()):
        identity = Identity({"train.seed": seed}, vocabulary, source_vocabulary)
        return Checkpoints(tmp_path / "checkpoints", identity)

    return open_them


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_everything_comes_back_bit_for_bit(open_checkpoints):
    tree, where = (
        make_tree(7),
        Progress(7, epoch=2, window=5, log_bytes=99, best_nll=np.inf, num_plateaus=0),
    )
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(LIKE) is None
        checkpoints.save(tree, where, None)
    with open_checkpoints() as checkpoints:
        restored = checkpoints.restore_latest(jax.eval_shape(lambda: LIKE))
    assert restored[1:] == (where, ())
    assert_equal(restored.tree, tree)


def test_a_tree_may_be_empty_in_places(open_checkpoints):
    with open_checkpoints() as checkpoints:
        checkpoints.save(make_tree(7)._replace(carry=()), progress(7), None)
        checkpoints.wait()
        assert checkpoints.restore_latest(LIKE._replace(carry=())).tree.carry == ()


def test_the_two_latest_and_the_best_are_kept(open_checkpoints, tmp_path):
    losses = {10: 3.0, 15: None, 20: 1.0, 25: None, 30: 2.0, 35: None, 40: 1.0}
    with open_checkpoints() as checkpoints:
        for step, loss in losses.items():
            save(checkpoints, step, loss)
    with open_checkpoints() as checkpoints:
        best = checkpoints.best()
        assert (best.progress.step, best.validation.nll) == (20, 1.0)
        assert_equal(checkpoints.restore_best_params(LIKE.params), make_tree(20).params)
        assert checkpoints.restore_latest(LIKE).tree.step == 40
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {20, 35, 40}


def test_in_the_midst_of_the_first_epoch_there_is_no_best(open_checkpoints):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3)
        with pytest.raises(InputError, match="holds no finished epoch"):
            checkpoints.best()
        with pytest.raises(InputError, match="holds no finished epoch"):
            checkpoints.restore_best_params(LIKE.params)


@pytest.mark.parametrize("where", [".params", ".opt_state[1]['average']"])
def test_the_best_parameters_are_those_that_were_validated(open_checkpoints, tmp_path, where):
    tree = make_tree(3)
    with open_checkpoints() as checkpoints:
        checkpoints.save(tree, progress(3), Validation(1.0, where))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        params = checkpoints.restore_best_params(LIKE.params)
        assert_equal(params, {".params": tree.params}.get(where, tree.opt_state[1]["average"]))
        with pytest.raises(InputError, match=r"checkpoints/3: .*a/b.* is float32\(1000, 6\)"):
            checkpoints.restore_best_params(make_tree(0, width=7).params)
        with pytest.raises(InputError, match="must be float32"):
            checkpoints.restore_best_params({"another": np.ones(3, np.float32)})


def test_another_vocabulary_is_refused(open_checkpoints):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3)
    with (
        open_checkpoints(vocabulary=("<eos>", "b", "a")) as checkpoints,
        pytest.raises(InputError, match="vocabulary"),
    ):
        checkpoints.restore_latest(LIKE)


def test_another_config_is_refused(open_checkpoints):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3)
    with (
        open_checkpoints(seed=1) as checkpoints,
        pytest.raises(InputError, match=r"train\.seed = 0 there, 1 here"),
    ):
        checkpoints.restore_latest(LIKE)


def test_sources_have_a_vocabulary_of_their_own(open_checkpoints, tmp_path):
    with open_checkpoints(source_vocabulary=("<eos>", "c")) as checkpoints:
        save(checkpoints, 3, 1.0)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.best().identity.source_vocabulary == ("<eos>", "c")
    refused = pytest.raises(InputError, match="another source vocabulary of 2 tokens")
    with open_checkpoints() as checkpoints, refused:
        checkpoints.restore_latest(LIKE)


def test_a_manifest_from_before_there_were_sources_is_of_none():
    manifest = Manifest(progress(3), None, Identity({}, VOCABULARY), {})
    content = manifest.to_json()
    del content["identity"]["source_vocabulary"]
    assert Manifest.from_json(content) == manifest


def test_a_reader_that_knows_nothing_learns_it_from_the_best(open_checkpoints, tmp_path):
    with open_checkpoints(seed=5) as checkpoints:
        save(checkpoints, 3, 1.0)
        save(checkpoints, 6, 2.0)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        best = checkpoints.best()
    assert best.identity == Identity({"train.seed": 5}, VOCABULARY)
    assert best.progress == progress(3)


def test_a_reader_of_nothing_makes_nothing(tmp_path):
    with pytest.raises(InputError, match=f"workdir {tmp_path}: holds no checkpoints"):
        Checkpoints(tmp_path / "checkpoints")
    assert list(tmp_path.iterdir()) == []


def test_another_shape_is_refused(open_checkpoints):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3)
        checkpoints.wait()
        with pytest.raises(InputError, match=r"must be float32\(1000, 7\)"):
            checkpoints.restore_latest(make_tree(0, width=7))


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
        save(checkpoints, 3)
        save(checkpoints, 6)
    damage(find(tmp_path, 6))
    with open_checkpoints() as checkpoints:
        tree, where, (note,) = checkpoints.restore_latest(LIKE)
        assert (tree.step, where) == (3, progress(3))
        assert "checkpoints/6: " in note
        assert "; it is now damaged-6-" in note
        save(checkpoints, 6)  # its place is free again
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(LIKE).tree.step == 6


def test_a_damaged_array_is_named(open_checkpoints, tmp_path, monkeypatch):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3, 1.0)
    read = store.checksum_arrays
    monkeypatch.setattr(
        store, "checksum_arrays", lambda arrays: {**read(arrays), ".carry[0]": 0, ".new": 1}
    )
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for restore in (checkpoints.restore_latest, checkpoints.restore_best_params):
            with pytest.raises(InputError, match=r"/3: has a wrong checksum of \.carry\[0\];"):
                restore(LIKE)


def test_of_a_half_written_directory_the_one_before_is_used(open_checkpoints, tmp_path):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3)
        save(checkpoints, 6)
    shutil.rmtree(tmp_path / "checkpoints" / "6" / "state")
    shutil.rmtree(tmp_path / "checkpoints" / "6" / "metrics")
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(LIKE).tree.step == 3


@pytest.mark.parametrize("find", [data_file, metrics_file])
@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_checkpoint_nothing_is_touched(open_checkpoints, tmp_path, find, damage):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3)
    damage(find(tmp_path, 3))
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(InputError, match=r"checkpoint .*checkpoints/3"),
        open_checkpoints() as checkpoints,
    ):
        checkpoints.restore_latest(LIKE)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_kill_left_of_a_discarded_checkpoint_is_deleted(open_checkpoints, tmp_path):
    with open_checkpoints() as checkpoints:
        for step in (3, 6, 9, 12):  # the best and the two latest are kept
            save(checkpoints, step)
        checkpoints.wait()
        discarded = tmp_path / "checkpoints" / "discarded"
        assert [path.name for path in discarded.iterdir()] == ["6"]
        shutil.copytree(discarded, tmp_path / "left")
    assert not discarded.exists()
    shutil.rmtree(tmp_path / "left" / "6" / "metrics")
    shutil.copytree(tmp_path / "left", discarded)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.restore_latest(LIKE).tree.step == 12
    assert discarded.exists()  # a reader leaves everything as it is
    with open_checkpoints() as checkpoints:
        assert not discarded.exists()
        assert checkpoints.restore_latest(LIKE).tree.step == 12


def test_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(StorageError, match=r"checkpoints cannot be written \(File exists\)"):
        Checkpoints(tmp_path / "checkpoints", Identity({}, VOCABULARY))


def test_a_checkpoint_that_is_discarded_meanwhile_is_not_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_numbers", lambda directory: [7])
    assert store._find_unreadable(tmp_path) == {}


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_best_one_that_is_replaced_while_it_is_read_is_not_damaged(
    open_checkpoints, tmp_path, is_listed
):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3, nll=2.0)
    with Checkpoints(tmp_path / "checkpoints") as reader:
        if is_listed:
            assert reader.best().progress.step == 3
        shutil.rmtree(tmp_path / "checkpoints" / "3")
        for read in (reader.best, lambda: reader.restore_best_params(LIKE.params)):
            with pytest.raises(
                InputError, match="replaced while it was read; run the command again"
            ):
                read()


def test_half_of_a_checkpoint_that_is_replaced_meanwhile_is_not_damaged(
    open_checkpoints, tmp_path, monkeypatch
):
    with open_checkpoints() as checkpoints:
        save(checkpoints, 3, nll=2.0)
    checksum = store.checksum_arrays

    def replace_first(arrays):
        (tmp_path / "checkpoints" / "3").rename(tmp_path / "discarded")
        return dict.fromkeys(checksum(arrays), 0)

    monkeypatch.setattr(store, "checksum_arrays", replace_first)
    with (
        Checkpoints(tmp_path / "checkpoints") as reader,
        pytest.raises(InputError, match="replaced while it was read"),
    ):
        reader.restore_best_params(LIKE.params)
