"""A model and its optimizer on the devices of a run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from awd_jax.batches import Plan
from awd_jax.core.ntasgd import observe
from awd_jax.models.contract import Model
from awd_jax.run.replicas import Replicas
from awd_jax.train.groups import group_rates, num_groups
from awd_jax.train.optimizer import learning_rate, make_optimizer, rate_schedule
from awd_jax.train.state import TrainState, init_state, zero_totals
from awd_jax.train.step import STATE_AXES, TRAIN_AXES, Regularisers, make_train_step


class Learner:
    """Moves a training state forward; computes the same on any number of devices.

    States are split over the devices, except for those that `init` and `gather` return and
    `scatter` takes: they are whole, as in a checkpoint.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: Model,
        replicas: Replicas,
        is_finetuning: bool = False,
        num_updates: int = 0,
    ) -> None:
        self._config = config
        self._model = model
        self._replicas = replicas
        self._batch_size = config.train.batch_size
        self._num_groups = num_groups(config)
        self._optimizer = make_optimizer(
            config.optimizer, is_finetuning, self._num_groups, num_updates
        )
        self._schedule = rate_schedule(config.optimizer, num_updates)
        regularisers = Regularisers(
            config.train.activation_reg, config.train.temporal_activation_reg
        )
        step = make_train_step(model, self._optimizer, regularisers, config.train.seed)
        self._step = replicas.pmap(step, *TRAIN_AXES)

    def init(self) -> TrainState:
        """Returns the state before the first step."""
        return init_state(self._model, self._optimizer, self._config.train.seed, self._batch_size)

    def start_from(self, state: TrainState, params: optax.Params) -> TrainState:
        """Returns the state of `init` with other parameters."""
        params = jax.tree.map(jnp.copy, params)  # the steps donate their state
        return state._replace(params=params, opt_state=self._optimizer.init(params))

    def start_epoch(self, state: TrainState) -> TrainState:
        """Returns the state at the start of an epoch: an initial carry and zero totals."""
        carry = self._model.initial_carry(self._replicas.width(self._batch_size))
        return state._replace(carry=self._replicas.split_carry(carry), totals=zero_totals())

    def part(self, plan: Plan) -> Plan:
        """Returns the part of a plan that this process trains on."""
        return plan.part(self._replicas.share(self._batch_size))

    def put(self, state: TrainState) -> TrainState:
        """Puts a state where the steps expect it; needed for any state that no step returned."""
        return self._replicas.put(state, STATE_AXES, donate=True)

    def last_rate(self, step: int, epoch: int, num_plateaus: int) -> float:
        """Returns the rate of the latest of `step` updates, for a whole window."""
        rate = learning_rate(self._config.optimizer, epoch, self._batch_size, num_plateaus)
        return rate * float(self._schedule(step - 1))

    def step(
        self, state: TrainState, plan: Plan, position: int, epoch: int, num_plateaus: int = 0
    ) -> TrainState:
        """Trains on the batch at `position` of the plan; donates `state`."""
        rate = learning_rate(self._config.optimizer, epoch, self._batch_size, num_plateaus)
        rate *= plan.rate_factor(position)
        rates: Any = np.float32(rate)
        if self._num_groups:
            rates = group_rates(self._config.optimizer, self._num_groups, rate, epoch)
        batch = self._replicas.split(plan[position], self._replicas.width(self._batch_size))
        return self._step(state, batch, rates)

    def observe(self, state: TrainState, valid_nll: float) -> TrainState:
        """Passes a validation loss to the trigger of averaging."""
        return state._replace(opt_state=observe(state.opt_state, valid_nll))

    def gather(self, state: TrainState) -> TrainState:
        """Returns a state of all processes as a whole one, on the host of each."""
        return state._replace(carry=self._replicas.gather_carry(state.carry))

    def scatter(self, state: TrainState) -> TrainState:
        """Inverts `gather`, for any number of processes and devices."""
        return state._replace(carry=self._replicas.scatter_carry(state.carry))
