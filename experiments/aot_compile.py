"""Compiles steps for TPUs or GPUs that are not there, and tells what came of it.

    python experiments/aot_compile.py --topologies=v5e:2x2,v5e:16x16,v6e:2x2 --sizes=ptb,wt2

On Linux x86-64 without an accelerator. For TPUs, `pip install '.[tpu_aot]'` brings libtpu, which
compiles without a TPU. For GPUs, `pip install 'jax[cuda12]'`, and --gpu names a description of one,
a file *.txtpb of openxla/xla; a topology is then the numbers of slices, hosts and GPUs, as 1x1x8.

It is the program that `pmap` would run there, by the same compiler. That it compiles, its peak of
memory and where it communicates are facts; the time of a step it cannot tell. GFLOP: of a device's
products, by the parameters. Mcycles: the compiler's estimates for a TPU, without communication, to
compare programs; less than 5 % is noise. Unknown: loops without a known number of rounds, at each
of which a GPU asks the host whether to go on. They count as T rounds.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # to run from any directory

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    # What libtpu would ask the host of a TPU for; and there is no chip that two cannot share.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    # Without a GPU no kernel can be chosen by its time, and no sort asked for the room it needs.
    "XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"
    " --xla_gpu_enable_cub_radix_sort=false",
} | os.environ

import jax
from jax.experimental import topologies

from experiments.aot_cases import SIZES, STEPS, make_case
from experiments.arguments import at_least, counts, file, some_of

COLUMNS = (
    *("size", "step", "topology", "devices", "batch", "dtype", "compiled", "HBM MiB", "GFLOP"),
    *("all-reduces", "in loops", "unknown", "Mcycles", "seconds"),
)


class Program(NamedTuple):
    """What the text of a compiled program says."""

    reduces: int  # all-reduces outside of loops
    reduces_in_loops: int
    num_unknown: int  # loops without a known number of rounds
    cycles: int  # estimated, of all operations


def read_program(text: str, num_steps: int) -> Program:
    """Reads the optimized HLO of a program whose loops over time have `num_steps` rounds."""
    found = re.findall(r"^(ENTRY )?%?([\w.\-]+) [^\n]*\{\n(.*?)^\}", text, re.M | re.S)
    bodies = {name: body for _, name, body in found}

    def read(name: str, in_loop: bool) -> Program:
        body = bodies[name]
        num_reduces = len(re.findall(r" all-reduce(?:-start)?\(", body))
        cycles = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', body)))
        total = [num_reduces * (not in_loop), num_reduces * in_loop, 0, cycles]
        for called in re.findall(r" call\(.*to_apply=%?([\w.\-]+)", body):
            total = [a + b for a, b in zip(total, read(called, in_loop), strict=True)]
        for line in re.findall(r"^.* while\(.*$", body, re.M):
            [(condition, inner)] = re.findall(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)", line)
            known = re.findall(r'known_trip_count":\{"n":"(\d+)"', line)
            known = known or re.findall(r"constant\((\d+)\)", bodies[condition])
            is_known = len(known) == 1
            rounds = int(known[0]) if is_known else num_steps
            loop = read(inner, True)
            total[1] += loop.reduces_in_loops
            total[2] += loop.num_unknown + (not is_known)
            total[3] += rounds * loop.cycles
        return Program(*total)

    return read(next(name for is_entry, name, _ in found if is_entry), False)


def compile_case(devices: list, size: str, step: str, options: Any, batch: int) -> list[str]:
    """The cells of a row from `devices` on."""
    config = SIZES[size].recipe()
    config.model.dtype = options.dtype
    if "backend" in config.model:
        config.model.backend = options.backend
    batch = -(-(batch or config.train.batch_size) // len(devices)) * len(devices)
    case = make_case(config, SIZES[size], step, devices, batch)
    first = [f"{len(devices)}", f"{batch}", options.dtype]
    started = time.perf_counter()
    try:
        compiled = case.function.lower(*case.arguments).compile()
    except jax.errors.JaxRuntimeError as error:  # out of memory, say
        return [*first, "no: " + str(error).splitlines()[0][:100], *[""] * 7]
    program = read_program(compiled.as_text(), case.num_steps)
    memory = compiled.memory_analysis().peak_memory_in_bytes / 2**20
    return [
        *(*first, "yes", f"{memory:,.0f}", f"{case.products / 1e9:,.0f}"),
        *(f"{program.reduces}", f"{program.reduces_in_loops}", f"{program.num_unknown}"),
        f"{program.cycles / 1e6:.2f}" * (program.cycles > 0),  # GPUs have none
        f"{time.perf_counter() - started:.0f}",
    ]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--topologies", type=lambda text: text.split(","), default=["v5e:2x2"])
    parser.add_argument("--devices", type=at_least(1), help="the first ones only")
    parser.add_argument("--gpu", type=file, help="a GpuTargetConfigProto as text; without, a TPU")
    parser.add_argument("--sizes", type=some_of(*SIZES), default=["ptb"])
    parser.add_argument("--steps", type=some_of(*STEPS), default=["train"])
    parser.add_argument("--batch", type=counts, default=[0], help="the recipe's without")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--backend", default="auto", choices=("auto", "fast", "scan"))
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Prints a table in Markdown, row by row."""
    options = parse_arguments(argv)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for topology in options.topologies:
        about = (
            {"target_config": options.gpu.read_text(), "topology": topology} if options.gpu else {}
        )
        platform = "cuda" if options.gpu else "tpu"
        try:
            devices = topologies.get_topology_desc(topology, platform, **about).devices
        except Exception as error:  # jax has no common one for what is not installed or not known
            sys.exit(f"{platform} {topology}: {str(error).splitlines()[0]}")
        place = f"{options.gpu.stem} {topology}" if options.gpu else topology
        for size in options.sizes:
            for step in options.steps:
                for batch in options.batch:
                    cells = compile_case(devices[: options.devices], size, step, options, batch)
                    print(f"| {' | '.join((size, step, place, *cells))} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
