"""The training loop: epoch, evaluate, observe, keep the best; test the best at the end."""

import math
import resource
import time
from typing import NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from awd_jax.core.ntasgd import averaged_params, observe
from awd_jax.data import windows
from awd_jax.data.corpus import Corpus
from awd_jax.errors import DivergedError
from awd_jax.models.awd_lstm import AWDLSTM
from awd_jax.train.checkpoint import Checkpoints, Progress
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.optimizer import learning_rate, make_optimizer
from awd_jax.train.report import Report, describe_nll
from awd_jax.train.state import TrainState, init_state, make_model, split_carry, zero_totals
from awd_jax.train.step import (
    STATE_AXES,
    Regularisers,
    make_place,
    make_train_step,
    pmap_train_step,
)
from awd_jax.train.streams import Streams

REMEDY = (
    "the last good checkpoint is kept: try a lower --config.optimizer.learning_rate "
    "or --config.optimizer.max_grad_norm in a new --workdir"
)


class Trained(NamedTuple):
    """The best model of a run, and what it reached."""

    model: AWDLSTM
    params: optax.Params  # averaged, if averaging had begun
    valid_nll: float  # nats per token
    test_nll: float


class Trainer:
    """A run of training: from the latest checkpoint to the last epoch."""

    def __init__(
        self,
        config: ConfigDict,
        corpus: Corpus,
        streams: Streams,
        devices: list[jax.Device],
        report: Report,
        checkpoints: Checkpoints,
    ) -> None:
        self._config = config
        self._level = corpus.level
        self._streams = streams
        self._num_devices = len(devices)
        self._report = report
        self._checkpoints = checkpoints
        self._last_save = time.monotonic()
        self._model = make_model(config.model, len(corpus.vocabulary))
        self._optimizer = make_optimizer(config.optimizer)
        regularisers = Regularisers(
            config.train.activation_reg, config.train.temporal_activation_reg
        )
        self._train_step = pmap_train_step(
            make_train_step(self._model, self._optimizer, regularisers, config.train.seed), devices
        )
        self._place = make_place(devices, STATE_AXES)
        self._evaluate = make_evaluate(self._model, config.train.bptt, devices)

    def train(self) -> Trained:
        """Goes on from the latest checkpoint to the last epoch, then tests the best model."""
        config = self._config.train
        state = init_state(
            self._model, self._optimizer, config.seed, config.batch_size, self._num_devices
        )
        num_params = sum(p.size for p in jax.tree.leaves(state.params))
        self._report.say(f"{num_params:,} parameters, {self._num_devices} {jax.default_backend()}")
        progress = Progress(epoch=1, window=0, log_bytes=0)
        restored = self._checkpoints.restore_latest(state)
        if restored is not None:
            state, progress, notes = restored
            for note in notes:
                self._report.say(note)
            self._report.say(f"resumed in epoch {progress.epoch} at window {progress.window}")
        self._report.rewind(progress.log_bytes)
        first_window = progress.window
        for epoch in range(progress.epoch, config.num_epochs + 1):
            state, seconds = self._train_epoch(state, epoch, first_window)
            state = self._finish_epoch(state, epoch, seconds)
            first_window = 0
        return self._test_best(state)

    def _train_epoch(
        self, state: TrainState, epoch: int, first_window: int
    ) -> tuple[TrainState, float]:
        """Trains on the windows from `first_window` on; also returns the seconds it took."""
        config = self._config.train
        plan = windows.epoch_windows(len(self._streams.train), config.bptt, config.seed, epoch)
        num_windows = len(plan.starts)
        if first_window == 0:
            carry = split_carry(self._model.initial_carry(config.batch_size), self._num_devices)
            state = state._replace(carry=carry, totals=zero_totals())
        state = self._place(state)
        started = time.perf_counter()
        with self._report.bar(range(first_window, num_windows), num_windows, epoch) as bar:
            for window in bar:
                state = self._train_window(
                    state, epoch, int(plan.starts[window]), int(plan.lengths[window])
                )
                done = window + 1
                if done == num_windows:
                    break  # _finish_epoch logs and saves
                if done % config.log_steps == 0:
                    values = self._epoch_so_far(state, epoch)
                    self._report.metrics(int(state.step), values)
                    bar.set_postfix_str(describe_nll(values["train_nll"], self._level))
                if time.monotonic() - self._last_save > 60 * config.checkpoint_minutes:
                    self._save(state, Progress(epoch, done, self._report.log_bytes))
        jax.block_until_ready(state)
        return state, time.perf_counter() - started

    def _train_window(self, state: TrainState, epoch: int, start: int, length: int) -> TrainState:
        config = self._config
        batch = windows.window_batch(self._streams.train, start, length)
        rate = learning_rate(config.optimizer, epoch, length, config.train.bptt)
        return self._train_step(
            state,
            jax.tree.map(lambda a: a.reshape(len(a), self._num_devices, -1), batch),
            np.int32(length),
            np.float32(rate),
        )

    def _finish_epoch(self, state: TrainState, epoch: int, train_seconds: float) -> TrainState:
        """Evaluates, shows the loss to the trigger, reports and saves."""
        step = int(state.step)
        values = self._epoch_so_far(state, epoch)
        started = time.perf_counter()
        params = averaged_params(state.opt_state, state.params)
        valid_nll = values["valid_nll"] = self._evaluate(params, self._streams.valid)
        valid_seconds = time.perf_counter() - started
        if not math.isfinite(valid_nll):
            raise DivergedError(f"validation loss after step {step} is {valid_nll}; {REMEDY}")
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
        self._report.say(
            f"epoch {epoch} | {train_seconds + valid_seconds:.0f} s"
            f" | train {describe_nll(values['train_nll'], self._level)}"
            f" | valid {describe_nll(valid_nll, self._level)}"
            + " | best so far" * is_best
            + f" | average of {num_averaged:,} steps" * (num_averaged > 0)
        )
        self._save(state, Progress(epoch + 1, 0, self._report.log_bytes), valid_nll)
        return state

    def _epoch_so_far(self, state: TrainState, epoch: int) -> dict[str, float | int]:
        """Means over the epoch up to here.

        Raises:
          DivergedError: as `_check_finite`.
        """
        self._check_finite(state)
        totals = jax.device_get(state.totals)
        return {
            "epoch": epoch,
            "train_nll": float(totals.nll / totals.num_tokens),
            "activation_reg": float(totals.activation_reg / totals.num_windows),
            "temporal_activation_reg": float(totals.temporal_activation_reg / totals.num_windows),
            "grad_norm": float(totals.grad_norm / totals.num_windows),
        }

    def _check_finite(self, state: TrainState) -> None:
        """Raises DivergedError if the loss or the gradient of a step was not finite."""
        bad_step = int(state.first_bad_step)
        if bad_step >= 0:
            raise DivergedError(f"loss or gradient of step {bad_step} is not finite; {REMEDY}")

    def _save(self, state: TrainState, progress: Progress, valid_nll: float = math.inf) -> None:
        self._check_finite(state)
        self._checkpoints.save(state, progress, valid_nll)
        self._last_save = time.monotonic()

    def _test_best(self, like: TrainState) -> Trained:
        best = self._checkpoints.restore_best(like)
        params = averaged_params(best.opt_state, best.params)
        return Trained(
            model=self._model,
            params=params,
            valid_nll=self._checkpoints.best_loss(),
            test_nll=self._evaluate(params, self._streams.test),
        )
