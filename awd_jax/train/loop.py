"""The training loop: epoch, evaluate, observe, keep the best; test the best at the end."""

import math
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
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Progress, Validation
from awd_jax.run.replicas import Replicas
from awd_jax.run.report import Report, describe_nll
from awd_jax.run.stops import Agreement, Interruption
from awd_jax.train.divergence import check_steps, check_validation
from awd_jax.train.evaluation import make_evaluate
from awd_jax.train.optimizer import learning_rate, make_optimizer
from awd_jax.train.state import (
    TrainState,
    init_state,
    make_model,
    means,
    where_evaluated,
    zero_totals,
)
from awd_jax.train.step import STATE_AXES, TRAIN_AXES, Regularisers, make_train_step
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
        replicas: Replicas,
        report: Report,
        checkpoints: Checkpoints,
        interruption: Interruption,
        base: optax.Params | None = None,
    ) -> None:
        self._config = config
        self._base = base
        self._level = corpus.level
        self._streams = streams
        self._replicas = replicas
        self._own_stream = streams.train[:, replicas.share(config.train.batch_size)]
        self._width = replicas.width(config.train.batch_size)
        self._report = report
        self._checkpoints = checkpoints
        self._agreement = Agreement(config.train, interruption, replicas)
        self._best_nll = math.inf
        self._model = make_model(config.model, len(corpus.vocabulary))
        self._optimizer = make_optimizer(config.optimizer, average_from_start=base is not None)
        regularisers = Regularisers(
            config.train.activation_reg, config.train.temporal_activation_reg
        )
        train_step = make_train_step(self._model, self._optimizer, regularisers, config.train.seed)
        self._train_step = replicas.pmap(train_step, *TRAIN_AXES)
        self._evaluate = make_evaluate(
            self._model, config.train.bptt, replicas, self._check_in_evaluation
        )

    def train(self) -> Trained:
        """Goes on from the latest checkpoint to the last epoch, then tests the best model.

        Raises:
          DivergedError: a loss or gradient is not finite.
          InterruptedRunError: a signal came; all that was done is saved.
          StorageError: a file cannot be written.
        """
        config = self._config.train
        state, progress = self._begin()
        first_window = progress.window
        for epoch in range(progress.epoch, config.num_epochs + 1):
            if self._base is not None and has_triggered(state.opt_state):
                self._report.say(f"stopped after epoch {epoch - 1}: no better than before")
                break
            plan = windows.epoch_windows(len(self._streams.train), config.bptt, config.seed, epoch)
            started = time.perf_counter()
            state = self._train_epoch(state, epoch, plan, first_window)
            seconds = time.perf_counter() - started
            try:
                state = self._finish_epoch(state, epoch, len(plan.starts), seconds)
            except InterruptedRunError:
                self._save(state, epoch, len(plan.starts))
                raise
            first_window = 0
        return self._test_best(state.params)

    def _begin(self) -> tuple[TrainState, Progress]:
        """The latest checkpoint; of a new run, its start."""
        config = self._config.train
        state = init_state(self._model, self._optimizer, config.seed, config.batch_size)
        num_params = sum(p.size for p in jax.tree.leaves(state.params))
        self._report.say(f"{num_params:,} parameters, {self._replicas.describe()}")
        restored = self._checkpoints.restore_latest(state)
        if restored is None:
            progress = Progress(step=0, epoch=1, window=0, log_bytes=0, best_nll=math.inf)
        else:
            state, progress, notes = restored
            for note in notes:
                self._report.say(note)
            self._report.say(f"resumed in epoch {progress.epoch} at window {progress.window}")
        self._best_nll = progress.best_nll
        self._report.rewind(progress.log_bytes)
        state = state._replace(carry=self._replicas.scatter_carry(state.carry))
        if restored is None and self._base is not None:
            state = self._start_from_base(state, self._base)
        return state, progress

    def _start_from_base(self, state: TrainState, base: optax.Params) -> TrainState:
        """Saves the base as step 0, which stays the best until an epoch is better."""
        params = jax.tree.map(jnp.copy, base)  # the steps take the memory of their state
        state = state._replace(params=params, opt_state=self._optimizer.init(params))
        valid_nll = self._best_nll = self._evaluate(base, self._streams.valid)
        self._save(state, 1, 0, valid_nll)
        self._report.say(f"before | valid {describe_nll(valid_nll, self._level)}")
        return state

    def _train_epoch(
        self, state: TrainState, epoch: int, plan: windows.Windows, first_window: int
    ) -> TrainState:
        """Trains on the windows of the plan from `first_window` on."""
        config = self._config.train
        num_windows = len(plan.starts)
        if first_window == 0:
            carry = self._replicas.split_carry(self._model.initial_carry(self._width))
            state = state._replace(carry=carry, totals=zero_totals())
        state = self._replicas.put(state, STATE_AXES, donate=True)
        before = jnp.copy(state.step)
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
        return jax.block_until_ready(state)

    def _train_window(self, state: TrainState, epoch: int, start: int, length: int) -> TrainState:
        config, bptt = self._config, self._config.train.bptt
        # Memory must follow the text: a flag may ask for windows far longer than it.
        padded_length = windows.padded_length(length, min(bptt, len(self._own_stream) - 1))
        batch = windows.window_batch(self._own_stream, start, length, padded_length)
        rate = learning_rate(config.optimizer, epoch, length, bptt, config.train.batch_size)
        split = self._replicas.split(batch, self._width)
        return self._train_step(state, split, np.int32(length), np.float32(rate))

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
        is_best = valid_nll < self._best_nll
        self._best_nll = min(valid_nll, self._best_nll)
        state = state._replace(opt_state=observe(state.opt_state, valid_nll))

        self._report.metrics(step, values)
        self._report.timing(step, {"train_seconds": train_seconds, "valid_seconds": valid_seconds})
        self._save(state, epoch + 1, 0, valid_nll)  # what is said is saved
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
        self, state: TrainState, epoch: int, window: int, valid_nll: float | None = None
    ) -> None:
        """Saves a run that goes on at this window of this epoch"""
        check_steps(state, epoch, window)
        whole = state._replace(carry=self._replicas.gather_carry(state.carry))
        progress = Progress(int(state.step), epoch, window, self._report.log_bytes, self._best_nll)
        validation = None if valid_nll is None else Validation(valid_nll, where_evaluated(state))
        self._checkpoints.save(whole, progress, validation)
        self._agreement.saved()

    def _test_best(self, like: optax.Params) -> Trained:
        best = self._checkpoints.best()
        params = jax.tree.map(jnp.asarray, self._checkpoints.restore_best_params(like))
        test_nll = self._evaluate(params, self._streams.test)
        return Trained(self._model, params, best.metrics["valid_nll"], test_nll)
