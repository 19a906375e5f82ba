"""What aot_compile.py reads from programs, and what TPUs were promised."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments import aot_compile

SCRIPT = Path(aot_compile.__file__)


def test_loops_with_and_without_a_known_number_of_rounds_are_told_apart():
    def known(x):
        return jax.lax.fori_loop(0, 5, lambda _, x: jnp.sin(x) * 2, x)

    def unknown(x, n):
        return jax.lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))

    texts = [
        jax.jit(f).lower(jnp.ones(8), *rest).compile().as_text()
        for f, rest in ((known, ()), (unknown, (3,)))
    ]
    assert [aot_compile.read_program(text, 7).num_unknown for text in texts] == [0, 1]


def test_cycles_of_a_loop_count_as_often_as_it_runs_and_its_all_reduces_apart():
    text = """HloModule m

%again (p: f32[]) -> pred[] {
  %n = s32[] constant(9)
}

%body (p: f32[]) -> f32[] {
  %a = f32[] add(p, p), backend_config={"estimated_cycles":"10"}
  %r = f32[] all-reduce(a)
}

ENTRY %main (x: f32[]) -> f32[] {
  %s = f32[] all-reduce-start(x), backend_config={"estimated_cycles":"3"}
  %w = f32[] while(x), condition=%again, body=%body
}
"""
    assert aot_compile.read_program(text, 7) == (1, 1, 0, 93)


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs libtpu: .[tpu_aot]")
def test_on_tpus_a_single_sequence_costs_no_more_and_a_step_sums_once():
    def rows(*options):
        run = subprocess.run(
            [sys.executable, SCRIPT, *options], stdout=subprocess.PIPE, text=True, check=True
        )
        table = [[cell.strip() for cell in line.split("|")] for line in run.stdout.splitlines()]
        return [dict(zip(table[0], row, strict=True)) for row in table[2:]]

    one, two = rows("--steps=evaluate", "--batch=1,2", "--devices=1")
    # One has twice as many steps for as many tokens.
    assert float(one["Mcycles"]) < 1.2 * 2 * float(two["Mcycles"])
    (step,) = rows("--steps=train", "--batch=20")
    assert (step["all-reduces"], step["in loops"], step["unknown"]) == ("1", "0", "0")
