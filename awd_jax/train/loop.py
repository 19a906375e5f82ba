"""The training loop: train an epoch, validate, keep the best; test the best at the end."""

import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from awd_jax.batches import Plan
from awd_jax.core.ntasgd import averaged_params, has_triggered, num_averaged
from awd_jax.errors import InterruptedRunError
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Progress, Validation
from awd_jax.run.replicas import Replicas
from awd_jax.run.report import Report
from awd_jax.run.stops import Agreement, Interruption
from awd_jax.train.divergence import check_steps, check_validation
from awd_jax.train.learner import Learner
from awd_jax.train.problem import Problem
from awd_jax.train.state import TrainState, means, where_evaluated
from awd_jax.train.validation import Validated, make_validate


class Trained(NamedTuple):
    """The best model of a run, and its results."""

    params: optax.Params  # averaged, if averaging had begun
    valid: Validated
    test: Validated


class Trainer:
    """Trains a run, from its latest checkpoint to the last epoch.

    With `base`, it starts from these parameters, which stay the best until an epoch beats them.
    When it finetunes, it averages from the first step on, and stops when the trigger would fire.
    """

    def __init__(
        self,
        config: ConfigDict,
        problem: Problem,
        replicas: Replicas,
        report: Report,
        checkpoints: Checkpoints,
        interruption: Interruption,
        base: optax.Params | None = None,
        is_finetuning: bool = False,
    ) -> None:
        self._config = config.train
        self._problem = problem
        self._base = base
        self._replicas = replicas
        self._report = report
        self._checkpoints = checkpoints
        self._agreement = Agreement(config.train, interruption, replicas)
        self._best_loss, self._num_plateaus = math.inf, 0
        self._is_finetuning = is_finetuning
        is_slanted = config.optimizer.schedule == "slanted"
        num_updates = config.train.num_epochs * len(problem.train(1)) if is_slanted else 0
        self._learner = Learner(config, problem.model, replicas, is_finetuning, num_updates)
        self._evaluate, self._validate = make_validate(
            config.train, problem, replicas, self._check_in_evaluation
        )

    def train(self) -> Trained:
        """Continues from the latest checkpoint to the last epoch, then tests the best model.

        Raises:
          DivergedError: a loss or gradient is not finite.
          InterruptedRunError: a signal came; all progress is saved.
          StorageError: a file cannot be written.
        """
        state, progress = self._begin()
        first_window = progress.window
        for epoch in range(progress.epoch, self._config.num_epochs + 1):
            if self._is_finetuning and has_triggered(state.opt_state):
                self._report.say(f"stopped after epoch {epoch - 1}: no better than before")
                break
            plan = self._learner.part(self._problem.train(epoch))
            started = time.perf_counter()
            state = self._train_epoch(state, epoch, plan, first_window)
            seconds = time.perf_counter() - started
            try:
                state = self._finish_epoch(state, epoch, len(plan), seconds)
            except InterruptedRunError:  # all windows are done: resume at the validation
                self._save(state, epoch, len(plan))
                raise
            first_window = 0
        return self._test_best(state.params)

    def _begin(self) -> tuple[TrainState, Progress]:
        """Returns the state and progress of the latest checkpoint, or those of a new run."""
        state = self._learner.init()
        num_params = sum(p.size for p in jax.tree.leaves(state.params))
        self._report.say(f"{num_params:,} parameters, {self._replicas.describe()}")
        restored = self._checkpoints.restore_latest(state)
        if restored is None:
            progress = Progress(
                step=0, epoch=1, window=0, log_bytes=0, best_nll=math.inf, num_plateaus=0
            )
        else:
            state, progress, notes = restored
            for note in notes:
                self._report.say(note)
            self._report.say(f"resumed in epoch {progress.epoch} at window {progress.window}")
        self._best_loss, self._num_plateaus = progress.best_nll, progress.num_plateaus
        self._report.rewind(progress.log_bytes)
        state = self._learner.scatter(state)
        if restored is None and self._base is not None:
            state = self._start_from_base(state, self._base)
        return state, progress

    def _start_from_base(self, state: TrainState, base: optax.Params) -> TrainState:
        """Saves the base as step 0, which stays the best until an epoch beats it."""
        state = self._learner.start_from(state, base)
        valid = self._validate(base, self._problem.valid)
        self._best_loss = valid.loss
        self._save(state, 1, 0, valid.loss)
        self._report.say(f"before | valid {valid.describe(self._problem)}")
        return state

    def _train_epoch(
        self, state: TrainState, epoch: int, plan: Plan, first_window: int
    ) -> TrainState:
        """Trains on the windows of the plan from `first_window` on."""
        config, num_windows = self._config, len(plan)
        if first_window == 0:
            state = self._learner.start_epoch(state)
        state = self._learner.put(state)
        before = jnp.copy(state.step)  # a copy, as the step donates the state
        with self._report.bar(range(first_window, num_windows), num_windows, epoch) as bar:
            for window in bar:
                state = self._learner.step(state, plan, window, epoch, self._num_plateaus)
                # Keeps the device at most one window behind: signals, checkpoints and the bar
                # would have to wait for a longer queue.
                before, _ = jnp.copy(state.step), before.block_until_ready()
                done = window + 1
                if done == num_windows:
                    break  # _finish_epoch logs and saves
                if done % config.log_steps == 0:
                    check_steps(state, epoch, done)
                    values = self._values(state, epoch)
                    self._report.metrics(int(state.step), values)
                    bar.set_postfix_str(self._problem.describe_nll(values["train_nll"]))
                if self._agreement.ask(done):
                    self._save(state, epoch, done)
                self._agreement.check(f"in epoch {epoch} at window {done}")
        return jax.block_until_ready(state)

    def _finish_epoch(
        self, state: TrainState, epoch: int, num_windows: int, train_seconds: float
    ) -> TrainState:
        """Validates, passes the loss to the averaging trigger, reports and saves."""
        step = int(state.step)
        check_steps(state, epoch, num_windows)
        values = self._values(state, epoch)
        started = time.perf_counter()
        params = averaged_params(state.opt_state, state.params)
        valid = self._validate(params, self._problem.valid)
        values |= {"valid_nll": valid.nll, **valid.named("valid")}
        valid_seconds = time.perf_counter() - started
        check_validation(valid.nll, epoch)
        averaged = values["num_averaged"] = num_averaged(state.opt_state)
        if averaged and self._config.evaluate_raw:
            values["raw_valid_nll"] = self._evaluate(state.params, self._problem.valid)
        is_best = valid.loss < self._best_loss
        self._best_loss = min(valid.loss, self._best_loss)
        self._num_plateaus += not is_best
        state = self._learner.observe(state, valid.loss)

        self._report.metrics(step, values)
        self._report.timing(step, {"train_seconds": train_seconds, "valid_seconds": valid_seconds})
        self._save(state, epoch + 1, 0, valid.loss)  # first: what is printed is saved
        self._report.say(
            f"epoch {epoch} | {train_seconds + valid_seconds:.0f} s"
            f" | train {self._problem.describe_nll(values['train_nll'])}"
            f" | valid {valid.describe(self._problem)}"
            + " | best so far" * is_best
            + f" | average of {averaged:,} steps" * (averaged > 0)
            + " | worse than guessing" * (valid.nll > self._problem.guessing_nll)
        )
        return state

    def _values(self, state: TrainState, epoch: int) -> dict[str, float | int]:
        """The part of a line of the metrics log that is known within an epoch too."""
        rate = self._learner.last_rate(int(state.step), epoch, self._num_plateaus)
        return {"epoch": epoch, "learning_rate": rate, **means(state.totals)}

    def _check_in_evaluation(self) -> None:
        self._agreement.ask()
        self._agreement.check("in an evaluation, which will be done again")

    def _save(self, state: TrainState, epoch: int, window: int, loss: float | None = None) -> None:
        """Saves the run, to resume at this window of this epoch."""
        check_steps(state, epoch, window)
        progress = Progress(
            step=int(state.step),
            epoch=epoch,
            window=window,
            log_bytes=self._report.log_bytes,
            best_nll=self._best_loss,
            num_plateaus=self._num_plateaus,
        )
        validation = None if loss is None else Validation(loss, where_evaluated(state))
        self._checkpoints.save(self._learner.gather(state), progress, validation)
        self._agreement.saved()

    def _test_best(self, like: optax.Params) -> Trained:
        params = jax.tree.map(jnp.asarray, self._checkpoints.restore_best_params(like))
        if self._problem.make_measure:  # a checkpoint holds only the loss
            valid = self._validate(params, self._problem.valid)
        else:
            best = self._checkpoints.best().validation  # another one if the best was damaged
            assert best is not None
            valid = Validated(best.nll, {}, best.nll)
        return Trained(params, valid, self._validate(params, self._problem.test))
