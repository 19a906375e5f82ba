import errno
import os
import resource

import jax
import pytest

from awd_jax.errors import InputError, StorageError
from awd_jax.run import workdir
from awd_jax.run.workdir import describe, jax_settings, open_workdir
from awd_jax.train.language import fingerprint, read_corpus
from configs import default


@pytest.fixture(scope="module")
def corpus():
    return read_corpus(default.get_config("smoke").data)


def open_and_close(workdir, fields):
    with open_workdir(workdir, fields):
        pass


def test_the_same_run_may_open_its_workdir_again(tmp_path, corpus):
    config = default.get_config("smoke")
    open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))
    config.train.num_epochs = 99
    config.train.num_samples = 3
    config.data.cache_dir = "elsewhere"
    open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))


def test_a_triangle_over_all_updates_ends_where_it_was_to(tmp_path, corpus):
    config = default.get_config("smoke")
    config.optimizer.schedule = "slanted"
    open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))
    config.train.num_epochs = 99
    with pytest.raises(InputError, match=r"train.num_epochs = 2 there, 99 here"):
        open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))


def test_what_tasks_after_training_are_told_is_not_of_the_run(corpus):
    config = default.get_config("smoke")
    fields = describe(config, fingerprint(corpus))
    config.score.carry = not config.score.carry
    config.generate.seed = 5
    assert describe(config, fingerprint(corpus)) == fields
    assert {name.split(".")[0] for name in fields} == {
        "name",
        "data",
        "model",
        "optimizer",
        "train",
        "corpus",
        *jax_settings(),
    }


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (jax.enable_x64(True), "jax_enable_x64 = False there, True here"),
        (jax.default_prng_impl("rbg"), "jax_default_prng_impl = 'threefry2x32' there, 'rbg' here"),
        (jax.default_matmul_precision("float32"), "matmul_precision = None there, 'float32' here"),
    ],
)
def test_another_setting_of_jax_is_another_run(tmp_path, corpus, setting, told):
    config = default.get_config("smoke")
    open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))
    with setting, pytest.raises(InputError, match=told):
        open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))


@pytest.mark.parametrize("name", ["ptb[lr=30]", "what?", "*", "a\\b", "caf\udce9"])
def test_where_orbax_could_not_read_what_it_wrote_nothing_is_made(tmp_path, corpus, name):
    fields = describe(default.get_config("smoke"), fingerprint(corpus))
    with pytest.raises(InputError, match="could not be read again"):
        open_and_close(tmp_path / name / "run", fields)
    assert list(tmp_path.iterdir()) == []


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path, corpus):
    config = default.get_config("smoke")
    open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))
    before = (tmp_path / "run" / "config.json").read_bytes()
    config.optimizer.learning_rate = 20.0
    with pytest.raises(InputError, match=r"learning_rate = 30\.0 there, 20\.0 here"):
        open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_changed_corpus_is_refused(tmp_path, corpus):
    config = default.get_config("smoke")
    open_and_close(tmp_path / "run", describe(config, fingerprint(corpus)))
    changed = corpus._replace(valid=corpus.valid[::-1].copy())
    with pytest.raises(InputError, match=r"corpus\.valid"):
        open_and_close(tmp_path / "run", describe(config, fingerprint(changed)))


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff"])
def test_a_damaged_config_file_gives_one_line(tmp_path, corpus, content):
    (tmp_path / "config.json").write_bytes(content.encode("latin1"))
    with pytest.raises(InputError) as error:
        open_and_close(tmp_path, describe(default.get_config("smoke"), fingerprint(corpus)))
    assert "\n" not in str(error.value)


def test_a_full_disk_gives_one_line(tmp_path, corpus):
    # A limit on the size of a file fails in the same calls as a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be used \(File too large\)"):
            open_and_close(tmp_path, describe(default.get_config("smoke"), fingerprint(corpus)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_a_fault_of_storage(tmp_path, corpus, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(workdir, "whole_file", full)
    with pytest.raises(StorageError, match="No space left"):
        open_and_close(tmp_path, describe(default.get_config("smoke"), fingerprint(corpus)))


def test_a_file_in_its_place_is_refused(tmp_path, corpus):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="cannot be used"):
        open_and_close(tmp_path / "run", describe(default.get_config("smoke"), fingerprint(corpus)))
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_without_permission_is_refused(tmp_path, corpus):
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be used"):
        open_and_close(tmp_path / "run", describe(default.get_config("smoke"), fingerprint(corpus)))


def test_a_second_run_is_refused_until_the_first_one_ends(tmp_path, corpus):
    fields = describe(default.get_config("smoke"), fingerprint(corpus))
    with (
        open_workdir(tmp_path / "run", fields),
        pytest.raises(InputError, match=rf"another run uses it \(process {os.getpid()} on "),
    ):
        open_and_close(tmp_path / "run", fields)
    open_and_close(tmp_path / "run", fields)
