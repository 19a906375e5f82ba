import signal

import jax
import pytest

from awd_jax.errors import InterruptedRunError
from awd_jax.files import whole_file
from awd_jax.run.replicas import Replicas
from awd_jax.run.stops import Agreement, Interruption, ended_by_signals
from awd_jax.run.store import Store
from configs import default


@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_is_noted_and_ends_the_run_at_the_next_check(signum, exit_code):
    before = signal.getsignal(signum)
    with Interruption() as interruption:
        agreement = Agreement(default.get_config().train, interruption, Replicas(jax.devices()[:1]))
        assert not agreement.ask()
        agreement.check("here")
        signal.raise_signal(signum)
        assert agreement.ask()
        with pytest.raises(InterruptedRunError, match=rf"by {signum.name} in epoch 3") as error:
            agreement.check("in epoch 3")
    assert error.value.exit_code == exit_code
    assert signal.getsignal(signum) is before


def test_a_signal_that_is_ignored_stays_so():
    """As under `nohup`, which ignores SIGHUP so that a run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert interruption.signum is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_task_that_a_signal_ends_leaves_nothing_half_written(signum, tmp_path):
    before = signal.getsignal(signum)
    with (
        pytest.raises(InterruptedRunError, match=f"by {signum.name} before") as error,
        ended_by_signals(),
        whole_file(tmp_path / "scores") as file,
    ):
        file.write(b"half of it")
        signal.raise_signal(signum)
    assert error.value.exit_code == 128 + signum
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize(
    ("of_orbax", "act"),
    [
        ("restore", lambda store: store.read_manifest(3)),
        ("wait_until_finished", Store.wait),
    ],
)
def test_a_signal_is_taken_neither_for_damage_nor_for_a_full_disk(
    tmp_path, monkeypatch, of_orbax, act
):
    store = Store(tmp_path, read_only=False)
    monkeypatch.setattr(
        store._manager, of_orbax, lambda *_, **__: signal.raise_signal(signal.SIGTERM)
    )
    with pytest.raises(InterruptedRunError) as error, ended_by_signals():
        act(store)
    assert error.value.exit_code == 143
    monkeypatch.undo()
    store.close()


def test_a_second_ctrl_c_acts_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert interruption.signum == signal.SIGINT
