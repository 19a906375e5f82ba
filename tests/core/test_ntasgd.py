"""NT-ASGD: its trigger, its average, and its manners as an optax transform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awd_jax.core.ntasgd import NTASGDState, averaged_params, has_triggered, nt_asgd, observe

PARAMS = {"w": jnp.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]]), "b": jnp.array([5.0])}
RISING = (1.0, 2.0, 3.0)  # triggers nonmono=1 at the third loss


def trigger(opt_state):
    for loss in RISING:
        opt_state = observe(opt_state, loss)
    return opt_state


def find(opt_state):
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, NTASGDState))
    return next(leaf for leaf in leaves if isinstance(leaf, NTASGDState))


def make_step(optimizer, donate=()):
    """Steps down a bowl that moves, and so do the iterates.

    It is convex: steps shrink a difference between two roads, such as that of their rounding.
    """

    def loss(params, t):
        return sum(jnp.sum(jnp.square(p) + jnp.sin(p + t)) for p in params.values())

    @functools.partial(jax.jit, donate_argnums=donate)
    def step(params, opt_state, t, **extra_args):
        grads = jax.grad(loss)(params, t)
        updates, opt_state = optimizer.update(grads, opt_state, params, **extra_args)
        return optax.apply_updates(params, updates), opt_state

    return step


def train(optimizer, num_steps, trigger_before=None, params=PARAMS):
    """The iterates after each step, and the last optimizer state."""
    step, opt_state, iterates = make_step(optimizer), optimizer.init(params), []
    for t in range(num_steps):
        if t == trigger_before:
            opt_state = trigger(opt_state)
        params, opt_state = step(params, opt_state, jnp.float32(t))
        iterates.append(params)
    return iterates, opt_state


def mean(iterates):
    return jax.tree.map(lambda *xs: np.mean(np.float64(xs), axis=0), *iterates)


def assert_trees_close(actual, desired):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, actual, desired)


def assert_trees_equal(actual, desired):
    jax.tree.map(np.testing.assert_array_equal, actual, desired)


# ---- the trigger ----


def trigger_epochs(losses, n):
    """Algorithm 1 on a list: for each epoch, whether averaging is on after it."""
    history, triggered = [], False
    for v in losses:
        if len(history) > n and v > min(history[:-n]):
            triggered = True
        history.append(v)
        yield triggered


LOSSES = st.lists(
    st.floats(1, 1000, width=32) | st.integers(1, 4).map(float),  # the integers make ties
    max_size=30,
)
observe_jitted = jax.jit(observe)


@given(losses=LOSSES | LOSSES.map(lambda x: sorted(x, reverse=True)), n=st.integers(1, 6))
def test_it_triggers_where_algorithm_1_does(losses, n):
    state = nt_asgd(n).init({})
    states = []
    for v in losses:
        state = observe_jitted(state, v)
        states.append(bool(state.triggered))
    assert states == list(trigger_epochs(losses, n))


def test_with_five_it_triggers_after_epoch_seven_at_the_earliest():
    state = nt_asgd(5).init({})
    triggered = []
    for epoch in range(1, 9):
        state = observe(state, float(epoch))
        triggered.append(bool(state.triggered))
    assert triggered == [False] * 6 + [True] * 2


def test_it_triggers_once_and_for_good():
    state = trigger(nt_asgd(1).init(PARAMS))
    for loss in (0.5, 0.4, 0.3, 0.2):
        state = observe(state, loss)
        assert state.triggered


def test_improvement_never_triggers():
    state = nt_asgd(1).init(PARAMS)
    for loss in range(50, 0, -1):
        state = observe(state, float(loss))
    assert not state.triggered


def test_a_negative_nonmono_is_refused():
    with pytest.raises(ValueError, match="nonmono -1: must be 0 or more"):
        nt_asgd(-1)


# ---- the average ----


@pytest.mark.parametrize("start", [0, 4, 11])
def test_it_averages_the_iterates_after_each_update_since_the_trigger(start):
    iterates, opt_state = train(optax.chain(optax.sgd(0.3), nt_asgd(1)), 12, trigger_before=start)
    average = averaged_params(opt_state, iterates[-1])
    assert_trees_close(average, mean(iterates[start:]))
    assert find(opt_state).num_averaged == 12 - start
    if start < 11:
        assert not np.allclose(average["w"], iterates[-1]["w"])


def test_the_raw_iterates_never_notice():
    plain, _ = train(optax.sgd(0.3), 12)
    averaged, _ = train(optax.chain(optax.sgd(0.3), nt_asgd(1)), 12, trigger_before=4)
    assert_trees_close(averaged, plain)


def test_before_the_first_average_the_params_are_returned():
    optimizer = optax.chain(optax.sgd(0.3), nt_asgd(1))
    iterates, opt_state = train(optimizer, 3)
    assert_trees_equal(averaged_params(opt_state, iterates[-1]), iterates[-1])
    assert_trees_equal(averaged_params(trigger(opt_state), iterates[-1]), iterates[-1])


def test_a_long_average_stays_accurate():
    """After 10,000 steps still the mean, not a mean of the latest."""
    transform = nt_asgd(1)
    iterates = jax.random.normal(jax.random.key(0), (10_000,)) + 3

    def one(state, iterate):
        return transform.update(iterate, state, jnp.zeros(()))[1], None

    state, _ = jax.lax.scan(one, trigger(transform.init(jnp.zeros(()))), iterates)
    np.testing.assert_allclose(state.average, np.float64(iterates).mean(), rtol=1e-5)


def test_a_bad_step_before_the_trigger_leaves_no_trace():
    transform = nt_asgd(1)
    bad = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), PARAMS)
    _, state = transform.update(bad, transform.init(PARAMS), PARAMS)
    _, state = transform.update(jax.tree.map(jnp.zeros_like, PARAMS), trigger(state), PARAMS)
    assert_trees_equal(averaged_params(state, bad), PARAMS)


# ---- manners ----


@pytest.fixture
def standard_promotion():
    """`optax.MultiSteps` divides floats by integers."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def in_a_chain():
    return optax.chain(optax.sgd(0.3), nt_asgd(1))


def in_a_nested_chain():
    inner = optax.chain(optax.identity(), in_a_chain())
    return optax.chain(optax.clip_by_global_norm(100.0), inner, optax.identity())


def injected():
    make = optax.inject_hyperparams(nt_asgd, static_args=("nonmono",))
    return optax.chain(optax.inject_hyperparams(optax.sgd)(learning_rate=0.3), make(nonmono=1))


@pytest.mark.parametrize("make", [in_a_chain, in_a_nested_chain, injected])
def test_it_works_anywhere_in_a_chain(make):
    expected, _ = train(optax.sgd(0.3), 8)
    iterates, opt_state = train(make(), 8, trigger_before=3)
    assert_trees_close(iterates, expected)
    assert_trees_close(averaged_params(opt_state, iterates[-1]), mean(iterates[3:]))
    assert optax.tree.get(opt_state, "num_averaged") == 5


def test_inside_multi_steps_only_real_updates_count(standard_promotion):
    iterates, opt_state = train(optax.MultiSteps(in_a_chain(), 3), 12, trigger_before=3)
    assert find(opt_state).num_averaged == 3
    assert_trees_close(averaged_params(opt_state, iterates[-1]), mean(iterates[5::3]))


def test_without_nt_asgd_nothing_happens():
    opt_state = optax.sgd(0.3, momentum=0.9).init(PARAMS)
    assert_trees_equal(observe(opt_state, 1.0), opt_state)
    assert averaged_params(opt_state, PARAMS) is PARAMS


def test_one_program_before_and_after_the_trigger():
    optimizer = in_a_chain()
    step, params, opt_state = make_step(optimizer), PARAMS, optimizer.init(PARAMS)
    for t in range(4):
        params, opt_state = step(params, opt_state, jnp.float32(t))
        opt_state = observe(opt_state, RISING[min(t, 2)])
    assert find(opt_state).num_averaged == 1
    assert step._cache_size() == 1


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_params_and_state_can_both_be_donated(wrap):
    optimizer = in_a_chain()
    params = jax.tree.map(jnp.copy, PARAMS)
    opt_state = wrap(optimizer.init)(params)
    step = make_step(optimizer, donate=(0, 1))
    old = params, opt_state
    for t in range(3):
        params, opt_state = step(params, opt_state, jnp.float32(t))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_kept(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    updates = jax.tree.map(jnp.ones_like, params)
    transform = nt_asgd(1)
    before = trigger(transform.init(params))
    new_updates, after = transform.update(updates, before, params)
    averaged = averaged_params(after, params)
    for tree in (new_updates, after.average, averaged):
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(tree))
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), s) for s in (before, after)]
    assert shapes[0] == shapes[1]
    assert_trees_equal(averaged, optax.apply_updates(params, updates))


def test_updates_pass_through_untouched():
    transform = nt_asgd(1)
    updates, _ = transform.update(PARAMS, trigger(transform.init(PARAMS)), PARAMS)
    assert updates is PARAMS


def test_extra_arguments_are_accepted():
    optimizer = in_a_chain()
    make_step(optimizer)(PARAMS, optimizer.init(PARAMS), jnp.float32(0), anything=1)


def test_an_update_without_params_is_refused():
    transform = nt_asgd(1)
    with pytest.raises(ValueError, match="nt_asgd needs params"):
        transform.update(PARAMS, transform.init(PARAMS))


def test_the_state_is_a_named_tuple_of_arrays():
    state = trigger(nt_asgd(3).init(PARAMS))
    leaves, structure = jax.tree.flatten(state)
    again = jax.tree.unflatten(structure, leaves)
    assert isinstance(again, NTASGDState)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert [name for name in state._fields if name != "average"] == [
        "recent_losses",
        "older_min",
        "triggered",
        "num_averaged",
    ]
    assert_trees_equal(again, state)


def test_runs_vmap_side_by_side():
    transform = nt_asgd(1)
    params = jnp.array([[1.0], [2.0]])
    losses = jnp.array([[3.0, 2.0, 1.0], RISING])  # only the second run triggers
    states = jax.vmap(transform.init)(params)
    for t in range(3):
        states = jax.vmap(observe)(states, losses[:, t])
    _, states = jax.vmap(transform.update)(jnp.ones((2, 1)), states, params)
    assert states.triggered.tolist() == [False, True]
    np.testing.assert_array_equal(
        jax.vmap(averaged_params)(states, params), jnp.array([[1.0], [3.0]])
    )


# ---- from the start, as finetuning averages ----


def test_from_the_start_it_averages_every_iterate_and_the_trigger_changes_nothing():
    optimizer = optax.chain(optax.sgd(0.1), nt_asgd(1, from_start=True))
    iterates, opt_state = train(optimizer, 7, trigger_before=4)
    assert find(opt_state).num_averaged == 7
    assert_trees_close(averaged_params(opt_state, iterates[-1]), mean(iterates))


def test_the_trigger_can_be_asked_for():
    opt_state = optax.chain(optax.sgd(0.1), nt_asgd(1, from_start=True)).init(PARAMS)
    assert not has_triggered(opt_state)
    assert has_triggered(trigger(opt_state))
    assert not has_triggered(optax.sgd(0.1).init(PARAMS))


def test_averaging_from_the_start_has_a_state_of_the_same_form():
    now, later = (nt_asgd(3, from_start).init(PARAMS) for from_start in (True, False))
    assert jax.tree.structure(now) == jax.tree.structure(later)
    assert_trees_equal(now, later)
