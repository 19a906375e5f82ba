"""What every cell of the table owes, by every road over time: the contract of `Cell`."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.core import masks
from awd_jax.core.cells import CELLS
from awd_jax.core.lstm import LSTM, LSTMState
from tests.core.cell_rows import ROWS, D, H
from tests.products import all_products, as_on

T, B = 7, 3
RAGGED = jnp.array([T - 2, 0, T])  # of B sequences
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
OTHER_ROAD = {n: r for n, r in ROWS.items() if r.scan}
each_other_road_row = pytest.mark.parametrize("row", OTHER_ROAD.values(), ids=OTHER_ROAD)
# One road of each cell: by `scan`, where another is held against it, it would be asked twice.
SCANS = [r.scan for r in OTHER_ROAD.values()]
ONE_ROAD = {n: r for n, r in ROWS.items() if r.cell not in SCANS}
each_one_road_row = pytest.mark.parametrize("row", ONE_ROAD.values(), ids=ONE_ROAD)
each_gated_cell = pytest.mark.parametrize("name", ["lstm", "gru", "cho_gru", "rnn"])


def normal(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def normal_like(seed, tree, leading=()):
    """Normal numbers of the shapes of a tree; in float64 where it is on."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten(
        [normal((*seed, i), (*leading, *leaf.shape)) for i, leaf in enumerate(leaves)]
    )


def make_arguments(row, seed=0, batch_size=B, leading=()):
    """Parameters, a state, and inputs."""
    params = jax.eval_shape(lambda k: row.cell.init(k, row.input_dim, H), jax.random.key(0))
    state = jax.eval_shape(lambda: row.cell.initial_state(batch_size, row.input_dim, H))
    return (
        jax.tree.map(lambda p: p / 2, normal_like((seed, 0), params, leading)),
        row.possible(normal_like((seed, 1), state, leading)),
        normal((seed, 2), (*leading, T, batch_size, row.input_dim)),
    )


def make_state_mask(row, batch_size=B):
    """None for a cell that takes none."""
    if not row.has_mask:
        return None
    dtype = jnp.result_type(float)
    return masks.sample_dropout(jax.random.key(5), (batch_size, H), 0.5).astype(dtype)


def run(cell, params, state, xs, length, state_mask=None):
    """Outputs, 0 from each sequence's end on, and the last state."""
    hs, last = cell.unroll(params, state, xs, length, state_mask)
    lengths = jnp.broadcast_to(jnp.asarray(length), xs.shape[1])
    is_real = jnp.indices(hs.shape)[0] < lengths[None, :, None]
    return jnp.where(is_real, hs, 0), last


def assert_close(actual, desired, rtol=1e-9, atol=1e-12):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=rtol, atol=atol)


def test_every_cell_has_a_row():
    assert {name.split("-")[0] for name in ROWS} == CELLS.keys()


# ---- what it computes ----


def numpy_run(row, params, state, xs, lengths, state_mask):
    """A loop over sequences and steps."""
    hs = np.zeros((*xs.shape[:2], H))
    last = []
    for b, length in enumerate(lengths):
        now = jax.tree.map(lambda s, b=b: s[b], state)
        for t in range(length):
            now, h = row.step(params, now, xs[t, b], 1.0 if state_mask is None else state_mask[b])
            hs[t, b] = row.output(xs[t, b], h)
        last.append(now)
    return hs, jax.tree.map(lambda *s: np.stack(s), *last)


@each_row
@pytest.mark.parametrize(
    ("length", "is_masked"), [(1, False), (T, True), ([T - 2, 0, T], True)], ids=str
)
def test_values_and_every_gradient_are_those_of_a_loop_in_numpy(x64, row, length, is_masked):
    """The gradients by differences along one direction, which has a part of each number."""
    arguments = make_arguments(row)
    state_mask = make_state_mask(row) if is_masked else None

    def loop(arguments):
        arrays = jax.tree.map(np.asarray, (*arguments, state_mask))
        return numpy_run(row, *arrays[:3], np.broadcast_to(length, B), arrays[3])

    outputs, vjp = jax.vjp(
        jax.jit(lambda *a: run(row.cell, *a, jnp.asarray(length), state_mask)), *arguments
    )
    assert_close(outputs, loop(arguments))

    d_outputs = normal_like((8,), outputs)

    def total(arguments):
        products = jax.tree.map(lambda a, d: np.sum(a * np.asarray(d)), loop(arguments), d_outputs)
        return sum(jax.tree.leaves(products))

    grads = vjp(d_outputs)
    for index in range(3):  # parameters, state, inputs
        direction = normal_like((9,), arguments[index])

        def moved(step, index=index, direction=direction):
            leaf = jax.tree.map(lambda a, d: a + step * d, arguments[index], direction)
            return (*arguments[:index], leaf, *arguments[index + 1 :])

        slope = (total(moved(1e-5)) - total(moved(-1e-5))) / 2e-5
        along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, grads[index], direction)))
        np.testing.assert_allclose(along, slope, rtol=1e-6, atol=1e-8)


@each_other_road_row
@pytest.mark.parametrize(
    ("batch_size", "is_masked", "is_ragged"),  # 11 sequences have idle columns beside them
    [(B, False, False), (11, True, False), (B, False, True), (11, True, True)],
)
def test_every_road_leads_to_the_gradient_of_the_scan(x64, row, batch_size, is_masked, is_ragged):
    """Of two runs under `vmap`, each with its own weights."""
    arguments = make_arguments(row, batch_size=batch_size, leading=(2,))
    state_mask = make_state_mask(row, batch_size) if is_masked else None
    outputs = jax.eval_shape(jax.vmap(lambda *a: run(row.scan, *a, T)), *arguments)
    d_outputs = normal_like((8,), outputs)

    @functools.partial(jax.jit, static_argnums=0)
    def both(cell, length):
        outputs, vjp = jax.vjp(jax.vmap(lambda *a: run(cell, *a, length, state_mask)), *arguments)
        return outputs, vjp(d_outputs)

    ragged = np.random.default_rng(3).integers(0, T + 1, (2, batch_size))
    ragged[0, 0], ragged[1, -1] = 0, T
    for length in ragged if is_ragged else (1, T - 2, T):
        assert_close(both(row.cell, jnp.asarray(length)), both(row.scan, jnp.asarray(length)))


@each_one_road_row
def test_a_length_of_zero_leaves_the_state(x64, row):
    params, state, xs = make_arguments(row)
    for length in (0, [0] * B):
        _, last = run(row.cell, params, state, xs, jnp.asarray(length))
        jax.tree.map(np.testing.assert_array_equal, last, state)


# ---- padding and time ----


@each_row
@pytest.mark.parametrize("length", [T - 2, [T - 2, 1, T - 3]], ids=str)
def test_padding_changes_nothing(x64, row, length):
    params, state, xs = make_arguments(row)
    lengths = np.broadcast_to(length, B)
    is_real = np.arange(T)[:, None] < lengths
    d_last = normal_like((8,), state)
    d_hs = jnp.where(is_real[..., None], normal(7, (T, B, H)), 0)

    @jax.jit
    def value_and_grads(params, state, xs, length):
        outputs, vjp = jax.vjp(lambda *a: run(row.cell, *a, length), params, state, xs)
        return outputs, vjp((d_hs[: len(xs)], d_last))

    longest = lengths.max()
    (hs, last), grads = value_and_grads(params, state, xs[:longest], jnp.asarray(length))
    padded_xs = jnp.where(is_real[..., None], xs, 1e3 * normal(5, xs.shape))
    (padded_hs, padded_last), padded_grads = value_and_grads(
        params, state, padded_xs, jnp.asarray(length)
    )
    assert_close((padded_hs[:longest], padded_last), (hs, last))
    assert_close(padded_grads[:2], grads[:2])
    assert_close(padded_grads[2][:longest], grads[2])
    assert not np.any(np.asarray(padded_grads[2])[~is_real])


@each_row
def test_windows_with_the_carry_equal_one_long_window(x64, row):
    params, state, xs = make_arguments(row)
    whole, last = run(row.cell, params, state, xs, T)
    pieces = []
    for piece in (xs[:3], xs[3:4], xs[4:]):
        hs, state = run(row.cell, params, state, piece, len(piece))
        pieces.append(hs)
    assert_close((jnp.concatenate(pieces), state), (whole, last))


@each_row
def test_the_past_alone_decides_and_sequences_do_not_mix(row):
    params, state, xs = make_arguments(row)

    def outputs(xs):
        return run(row.cell, params, state, xs, T)[0]

    influence = jnp.abs(jax.jit(jax.jacrev(outputs))(xs)).max(axis=(2, 5))  # [T, B, T, B]
    t, b, s, a = np.indices(influence.shape)
    may = (a == b) & (s <= t) if row.cell.is_causal else a == b
    np.testing.assert_array_equal(influence > 0, may)


@each_row
def test_one_program_serves_every_length(row):
    arguments = make_arguments(row)
    program = jax.jit(lambda length: run(row.cell, *arguments, length))
    for length in (1, 4, T):
        program(jnp.asarray(length))
    assert program._cache_size() == 1


@pytest.mark.parametrize("batch_size", [1, B])
@pytest.mark.parametrize("name", ["lstm-scan", *(name for name in ROWS if name.endswith("-fast"))])
def test_what_a_tpu_runs_is_the_same(x64, monkeypatch, name, batch_size):
    row = ROWS[name]
    params, state, xs = make_arguments(row, batch_size=batch_size)
    mask = make_state_mask(row, batch_size)
    length = T - 2 if batch_size == 1 else jnp.array([T - 2, 0, T])

    def value_and_grads():
        def loss(params, state, xs):
            outputs = run(row.cell, params, state, xs, length, mask)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(outputs))

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(params, state, xs)

    here = value_and_grads()
    monkeypatch.setattr(jax.lax, "platform_dependent", as_on("tpu"))
    jax.clear_caches()  # jax remembers how it traced a part
    assert_close(value_and_grads(), here)


# ---- parameters, states, dtypes ----


@each_row
def test_it_is_as_wide_as_it_says(row):
    hs, _ = run(row.cell, *make_arguments(row), T)
    assert hs.shape == (T, B, row.cell.output_dim(H))


@each_row
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_a_text_starts_from_zeros_of_each_sequence(row, dtype):
    state = row.cell.initial_state(B, row.input_dim, H, dtype)
    for leaf in jax.tree.leaves(state):
        assert leaf.shape[0] == B
        assert not jnp.any(leaf)


def names_of(tree):
    return {path[-1].name for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@each_one_road_row
def test_weight_drop_finds_what_the_cell_names(row):
    params, state, xs = make_arguments(row)
    cell = row.cell
    assert cell.dropped and names_of(params) >= {*cell.dropped, *cell.dropped_inputs}
    assert not {*cell.dropped} & {*cell.dropped_inputs}
    drawn = masks.sample_weight_drop(
        jax.random.key(0), params, cell.dropped, cell.dropped_inputs, 0.3, 0.2
    )
    assert names_of(drawn) == {*cell.dropped, *cell.dropped_inputs}

    def loss(params):
        return jnp.sum(jnp.sin(run(cell, masks.drop_weights(drawn, params), state, xs, T)[0]))

    grads = jax.jit(jax.grad(loss))(params)
    is_mask = {"is_leaf": lambda mask: mask is None}
    for mask, grad in zip(jax.tree.leaves(drawn, **is_mask), jax.tree.leaves(grads), strict=True):
        if mask is not None:
            np.testing.assert_array_equal(grad != 0, mask != 0)


@each_one_road_row
def test_a_weight_mask_for_each_sequence_by_vmap(row):
    params, state, xs = make_arguments(row)
    batches_of_one = jax.tree.map(lambda s: s[:, None], state), xs.swapaxes(0, 1)[:, :, None]

    def one(key, state, xs):
        """A sequence alone, with weight masks of its own."""
        drawn = masks.sample_weight_drop(
            key, params, row.cell.dropped, row.cell.dropped_inputs, 0.5, 0.1
        )
        return run(row.cell, masks.drop_weights(drawn, params), state, xs, T)

    keys = jax.random.split(jax.random.key(0), B)
    together = jax.jit(jax.vmap(one))(keys, *batches_of_one)
    loop = jax.jit(one)
    for b, key in enumerate(keys):
        alone = loop(key, *jax.tree.map(lambda s, b=b: s[b], batches_of_one))
        assert_close(jax.tree.map(lambda s, b=b: s[b], together), alone, rtol=1e-5, atol=1e-6)


@each_row
@pytest.mark.parametrize(
    ("length", "is_masked"), [(T, False), (RAGGED, True)], ids=["whole", "ragged"]
)
def test_of_bfloat16_inputs_only_products_and_outputs_are_bfloat16(row, length, is_masked):
    params, _, xs = make_arguments(row)
    state = row.cell.initial_state(B, row.input_dim, H, jnp.bfloat16)
    xs = xs.astype(jnp.bfloat16)
    state_mask = make_state_mask(row) if is_masked else None

    def dtypes(tree):
        return jax.tree.map(lambda a: a.dtype, tree)

    def both(params, state, xs):
        outputs, vjp = jax.vjp(
            lambda *a: row.cell.unroll(*a, length, state_mask), params, state, xs
        )
        return outputs, vjp(jax.tree.map(jnp.ones_like, outputs))

    (hs, last), (d_params, d_state, d_xs) = jax.eval_shape(both, params, state, xs)
    assert hs.dtype == d_xs.dtype == jnp.bfloat16
    assert dtypes(last) == dtypes(d_state) == dtypes(state)
    assert dtypes(d_params) == dtypes(params)
    assert {*jax.tree.leaves(dtypes(params))} == {jnp.dtype(jnp.float32)}
    products = list(all_products(jax.make_jaxpr(both)(params, state, xs).jaxpr))
    num_matrices = sum(
        leaf.ndim == 2 and not path[-1].name.startswith("first_")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    )
    dtypes_of = [{v.aval.dtype for v in product.invars} for product in products]
    narrow = [{jnp.dtype(jnp.bfloat16)} == kinds for kinds in dtypes_of]
    assert sum(narrow) >= 3 * num_matrices  # each forward, and two gradients
    assert row.is_wide or all(narrow)
    assert all(len(kinds) == 1 for kinds in dtypes_of)


@each_one_road_row
def test_a_bfloat16_layer_is_near_the_float32_one(row):
    """No lower bound: on a CPU, XLA may leave out the rounding."""
    params, state, xs = make_arguments(row)

    def value_and_grads(dtype):
        start = row.cell.initial_state(B, row.input_dim, H, dtype)
        start = jax.tree.map(lambda s, like: s.astype(like.dtype), state, start)
        outputs, vjp = jax.vjp(
            jax.jit(lambda *a: run(row.cell, *a, T)), params, start, xs.astype(dtype)
        )
        return outputs, vjp(jax.tree.map(jnp.ones_like, outputs))

    wide, narrow = (value_and_grads(dtype) for dtype in (jnp.float32, jnp.bfloat16))
    for a, b in zip(*map(jax.tree.leaves, (narrow, wide)), strict=True):
        assert jnp.linalg.norm(a.astype(jnp.float32) - b) <= 0.03 * jnp.linalg.norm(b)


# ---- the initial parameters of the gated cells ----


@each_gated_cell
def test_init_fills_the_uniform_range_of_torch(name):
    params = CELLS[name]("scan").init(jax.random.key(0), 40, 64)
    gates = params.w_h.shape[1]
    assert gates % 64 == 0
    assert [p.shape for p in params] == [(40, gates), (64, gates), (gates,), (gates,)]
    for weights in params:
        assert 0.9 / 8 < jnp.max(jnp.abs(weights)) <= 1 / 8
        assert jnp.abs(jnp.mean(weights)) < 5 / 8 / np.sqrt(3 * weights.size)


@each_gated_cell
def test_init_draws_each_array_from_its_own_key(name):
    params = CELLS[name]("scan").init(jax.random.key(0), 16, 16)
    for a, b in itertools.combinations(params, 2):
        if a.shape == b.shape:
            assert not jnp.any(a == b)


def test_a_forget_bias_joins_the_forget_gate_and_nothing_else():
    key = jax.random.key(0)
    plain, biased = (CELLS["lstm"](forget_gate_bias=bias).init(key, D, H) for bias in (0.0, 1.5))
    expected = jnp.zeros((4, H)).at[1].set(1.5).ravel()  # i, f, g, o
    np.testing.assert_allclose(biased.b_x - plain.b_x, expected, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, biased._replace(b_x=plain.b_x), plain)


# ---- the Mogrifier's maps ----


def test_each_map_is_drawn_by_its_rows_and_gates_start_open():
    cell = CELLS["mogrifier"]("scan", 5, 16)
    params, dims = cell.init(jax.random.key(0), 40, 64), (64, 40)
    assert len(params.rounds) == 5
    for r, (down, up, b) in enumerate(params.rounds):
        assert (down.shape, up.shape) == ((dims[r % 2], 16), (16, dims[1 - r % 2]))
        assert not jnp.any(b)
        for weights in (down, up):
            assert 0.9 < jnp.max(jnp.abs(weights)) * len(weights) ** 0.5 <= 1
    for a, b in itertools.combinations(jax.tree.leaves(params.rounds), 2):
        assert a.ndim == 1 or a.shape != b.shape or not jnp.any(a == b)


def test_a_mogrifier_without_rounds_is_its_cell():
    row, cell = ROWS["lstm-scan"], CELLS["mogrifier"]("scan", 0, 0)
    params, *rest = make_arguments(row)
    mogrifier_params = cell.init(jax.random.key(0), D, H)._replace(cell=params)
    expected = run(row.cell, params, *rest, T)
    assert_close(run(cell, mogrifier_params, *rest, T), expected, rtol=1e-5, atol=1e-6)


# ---- the LSTM's gates ----


@pytest.mark.parametrize(
    ("open_gates", "c", "h"),
    [
        ("", 0.0, 0.0),
        ("f", 0.7, 0.0),  # keeps the memory, shows nothing
        ("fo", 0.7, np.tanh(0.7)),
        ("ig", 1.0, 0.0),  # writes a one over the old memory
        ("ifgo", 1.7, np.tanh(1.7)),
    ],
)
def test_each_gate_does_its_work(open_gates, c, h):
    """The gates lie side by side in the order i, f, g, o."""
    shut = {"i": -1000.0, "f": -1000.0, "g": 0.0, "o": -1000.0}
    sums = tuple(jnp.full((1, H), 1000.0 if gate in open_gates else shut[gate]) for gate in "ifgo")
    state = LSTMState(h=jnp.ones((1, H)), c=jnp.full((1, H), 0.7))
    state = LSTM.update(state, LSTM.activate(sums, ()))
    np.testing.assert_allclose(state.c, np.full((1, H), c), rtol=1e-6)
    np.testing.assert_allclose(state.h, np.full((1, H), h), rtol=1e-6)


@pytest.mark.parametrize("name", ["lstm-scan", "lstm-fast", "rnn-scan", "rnn-fast"])
def test_both_biases_get_the_same_gradient(name):
    row = ROWS[name]
    arguments = make_arguments(row)
    grads = jax.grad(lambda p: jnp.sum(jnp.sin(run(row.cell, p, *arguments[1:], T)[0])))(
        arguments[0]
    )
    assert jnp.any(grads.b_x)
    np.testing.assert_allclose(grads.b_x, grads.b_h, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"), [("gru", {}), ("rnn", {}), ("lstm", {"cap_input_gate": True})]
)
def test_only_the_lstm_has_cudnn(name, options):
    with pytest.raises(ValueError, match="only the LSTM without cap"):
        CELLS[name]("cudnn", **options)


@each_gated_cell
def test_only_the_qrnn_has_the_tree(name):
    with pytest.raises(ValueError, match="backend associative"):
        CELLS[name]("associative")


@pytest.mark.parametrize("backend", ["fast", "cudnn"])
@pytest.mark.parametrize("name", ["mogrifier", "ntm"])
def test_such_a_cell_has_scan_only(name, backend):
    with pytest.raises(ValueError, match="scan only"):
        CELLS[name](backend, 1, 1)


def test_a_capped_memory_stays_within_one():
    row = ROWS["lstm-capped-fast"]
    params, state, xs = make_arguments(row)
    start = state._replace(c=jnp.tanh(state.c))
    within, beyond = (
        jnp.abs(run(cell, params, start, 9 * xs, T)[1].c).max()
        for cell in (row.cell, ROWS["lstm-fast"].cell)
    )
    assert within <= 1 < beyond
