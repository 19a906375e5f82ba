"""The training loop: epoch, evaluate, observe, keep the best; test the best at the end."""

import math
import resource
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import averaged_params, has_triggered, observe
from awd_jax.data import windows
from awd_jax.data.corpus import Corpus
from awd_jax.errors import InterruptedRunError
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.train.agreement import Agreement
from awd_jax.train.checkpoint import Checkpoints
from awd_jax.train.devices import describe_devices, num_local, own_sequences
from awd_jax.train.divergence import check_steps, check_validation
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.interruption import Interruption
from awd_jax.train.meta import Progress
from awd_jax.train.optimizer import learning_rate, make_optimizer
from awd_jax.train.report import Report, describe_nll
from awd_jax.train.shared_checkpoints import SharedCheckpoints
from awd_jax.train.state import TrainState, init_state, make_model, means, start_epoch
from awd_jax.train.step import (
    STATE_AXES,
    Regularisers,
    make_place,
    make_train_step,
    pmap_train_step,
)
from awd_jax.train.streams import Streams


class Trained(NamedTuple):
    """The best model of a run, and what it reached."""

    model: AWDLSTM
    params: optax.Params  # averaged, if averaging had begun
    valid_nll: float  # nats per token
    test_nll: float


class Trainer:
    """A run of training: from the latest checkpoint to the last epoch.

    With `base`, the parameters to start from, it finetunes: it averages from the
    first step on, and stops where the trigger of averaging would fire.
    """

    def __init__(
        self,
        config: ConfigDict,
        corpus: Corpus,
        streams: Streams,
        devices: list[jax.Device],
        report: Report,
        checkpoints: Checkpoints | SharedCheckpoints,
        interruption: Interruption,
        base: optax.Params | None = None,
    ) -> None:
        self._config = config
        self._base = base
        self._level = corpus.level
        self._streams = streams
        self._own_stream = own_sequences(streams.train, devices)
        self._devices = devices
        self._num_local = num_local(devices)
        self._report = report
        self._checkpoints = checkpoints
        self._agreement = Agreement(config.train, interruption, devices)
        self._model = make_model(config.model, len(corpus.vocabulary))
        self._optimizer = make_optimizer(config.optimizer, average_from_start=base is not None)
        regularisers = Regularisers(
            config.train.activation_reg, config.train.temporal_activation_reg
        )
        self._train_step = pmap_train_step(
            make_train_step(self._model, self._optimizer, regularisers, config.train.seed), devices
        )
        self._place = make_place(devices, STATE_AXES, donate=True)
        self._evaluate = make_evaluate(
            self._model,
            config.train.bptt,
            devices,
            self._check_in_evaluation,
        )

    def train(self) -> Trained:
        """Goes on from the latest checkpoint to the last epoch, then tests the best model.

        Raises:
          DivergedError: a loss or gradient is not finite.
          InterruptedRunError: a signal came; all that was done is saved.
          StorageError: a file cannot be written.
        """
        config = self._config.train
        state = init_state(
            self._model, self._optimizer, config.seed, self._own_stream.shape[1], self._num_local
        )
        num_params = sum(p.size for p in jax.tree.leaves(state.params))
        self._report.say(f"{num_params:,} parameters, {describe_devices(self._devices)}")
        progress = Progress(epoch=1, window=0, log_bytes=0)
        restored = self._checkpoints.restore_latest(state)
        if restored is not None:
            state, progress, notes = restored
            for note in notes:
                self._report.say(note)
            self._report.say(f"resumed in epoch {progress.epoch} at window {progress.window}")
        self._report.rewind(progress.log_bytes)
        if restored is None and self._base is not None:
            state = self._start_from_base(state, self._base)
        first_window = progress.window
        for epoch in range(progress.epoch, config.num_epochs + 1):
            if self._base is not None and has_triggered(state.opt_state):
                self._report.say(f"stopped after epoch {epoch - 1}: no better than before")
                break
            state, done, seconds = self._train_epoch(state, epoch, first_window)
            try:
                state = self._finish_epoch(state, epoch, done, seconds)
            except InterruptedRunError:
                self._save(state, epoch, done)
                raise
            first_window = 0
        return self._test_best(state)

    def _start_from_base(self, state: TrainState, base: optax.Params) -> TrainState:
        """Saves the base as step 0, which stays the best until an epoch is better."""
        params = jax.tree.map(jnp.copy, base)  # the steps take the memory of their state
        state = state._replace(params=params, opt_state=self._optimizer.init(params))
        valid_nll = self._evaluate(base, self._streams.valid)
        self._save(state, 1, 0, valid_nll)
        self._report.say(f"before | valid {describe_nll(valid_nll, self._level)}")
        return state

    def _train_epoch(
        self, state: TrainState, epoch: int, first_window: int
    ) -> tuple[TrainState, int, float]:
        """Trains on the windows from `first_window` on.

        Returns:
          The state, how many windows the epoch has, and the seconds it took.
        """
        config = self._config.train
        plan = windows.epoch_windows(len(self._streams.train), config.bptt, config.seed, epoch)
        num_windows = len(plan.starts)
        if first_window == 0:
            state = start_epoch(state, self._model, self._own_stream.shape[1], self._num_local)
        state = self._place(state)
        before = jnp.copy(state.step)
        started = time.perf_counter()
        with self._report.bar(range(first_window, num_windows), num_windows, epoch) as bar:
            for window in bar:
                state = self._train_window(
                    state, epoch, int(plan.starts[window]), int(plan.lengths[window])
                )
                # The device is one window behind at most: else it is a whole queue of them that
                # a signal, a checkpoint and the bar would wait for.
                before, _ = jnp.copy(state.step), before.block_until_ready()
                done = window + 1
                if done == num_windows:
                    break  # _finish_epoch logs and saves
                if done % config.log_steps == 0:
                    check_steps(state, epoch, done)
                    values = means(state.totals)
                    self._report.metrics(int(state.step), {"epoch": epoch, **values})
                    bar.set_postfix_str(describe_nll(values["train_nll"], self._level))
                if self._agreement.ask(done):
                    self._save(state, epoch, done)
                self._agreement.check(f"in epoch {epoch} at window {done}")
        jax.block_until_ready(state)
        return state, num_windows, time.perf_counter() - started

    def _train_window(self, state: TrainState, epoch: int, start: int, length: int) -> TrainState:
        config, bptt = self._config, self._config.train.bptt
        # Memory must follow the text: a flag may ask for windows far longer than it.
        padded_length = windows.padded_length(length, min(bptt, len(self._own_stream) - 1))
        batch = windows.window_batch(self._own_stream, start, length, padded_length)
        rate = learning_rate(config.optimizer, epoch, length, bptt, config.train.batch_size)
        return self._train_step(
            state,
            jax.tree.map(lambda a: a.reshape(len(a), self._num_local, -1), batch),
            np.int32(length),
            np.float32(rate),
        )

    def _finish_epoch(
        self, state: TrainState, epoch: int, num_windows: int, train_seconds: float
    ) -> TrainState:
        """Evaluates, shows the loss to the trigger, reports and saves."""
        step = int(state.step)
        check_steps(state, epoch, num_windows)
        values = {"epoch": epoch, **means(state.totals)}
        started = time.perf_counter()
        params = averaged_params(state.opt_state, state.params)
        valid_nll = values["valid_nll"] = self._evaluate(params, self._streams.valid)
        valid_seconds = time.perf_counter() - started
        check_validation(valid_nll, epoch)
        num_averaged = int(optax.tree.get(state.opt_state, "num_averaged", 0))
        values["num_averaged"] = num_averaged
        if num_averaged and self._config.train.evaluate_raw:
            values["raw_valid_nll"] = self._evaluate(state.params, self._streams.valid)
        is_best = valid_nll < self._checkpoints.best_loss()
        state = state._replace(opt_state=observe(state.opt_state, valid_nll))

        self._report.metrics(step, values)
        self._report.timing(
            step,
            {
                "train_seconds": train_seconds,
                "valid_seconds": valid_seconds,
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            },
        )
        self._save(state, epoch + 1, 0, valid_nll)  # before it speaks
        self._report.say(
            f"epoch {epoch} | {train_seconds + valid_seconds:.0f} s"
            f" | train {describe_nll(values['train_nll'], self._level)}"
            f" | valid {describe_nll(valid_nll, self._level)}"
            + " | best so far" * is_best
            + f" | average of {num_averaged:,} steps" * (num_averaged > 0)
            + " | worse than guessing" * (valid_nll > math.log(self._model.vocab_size))
        )
        return state

    def _check_in_evaluation(self) -> None:
        self._agreement.ask()
        self._agreement.check("in an evaluation, which will be done again")

    def _save(
        self, state: TrainState, epoch: int, window: int, valid_nll: float = math.inf
    ) -> None:
        """Saves a run that goes on at this window of this epoch."""
        check_steps(state, epoch, window)
        self._checkpoints.save(state, Progress(epoch, window, self._report.log_bytes), valid_nll)
        self._agreement.saved()

    def _test_best(self, like: TrainState) -> Trained:
        best = self._checkpoints.restore_best(like)
        params = averaged_params(best.opt_state, best.params)
        return Trained(
            model=self._model,
            params=params,
            valid_nll=self._checkpoints.best_loss(),
            test_nll=self._evaluate(params, self._streams.test),
        )
