"""What is left of the memory, by the files of a system that is made up."""

import sys

import pytest

from awd_jax.data.memory import available_bytes

MIB = 1 << 20
OWN = "sys/fs/cgroup/a/b"
V1 = "sys/fs/cgroup/memory/a/b"
IN_BYTES, USAGE = "memory.limit_in_bytes", "memory.usage_in_bytes"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 100),
        ({f"{OWN}/memory.max": "max", f"{OWN}/memory.current": "7"}, 100),
        ({f"{OWN}/memory.max": 90 * MIB, f"{OWN}/memory.current": 50 * MIB}, 40),
        (
            {
                f"{OWN}/memory.max": 90 * MIB,
                f"{OWN}/memory.current": 50 * MIB,
                f"{OWN}/memory.stat": f"anon 7\ninactive_file {20 * MIB}",
            },
            60,
        ),
        (
            {
                "sys/fs/cgroup/a/memory.max": 30 * MIB,
                "sys/fs/cgroup/a/memory.current": 5 * MIB,
                f"{OWN}/memory.max": "max",
                f"{OWN}/memory.current": "0",
            },
            25,
        ),
        ({"sys/fs/cgroup/memory.max": MIB, "sys/fs/cgroup/memory.current": 2 * MIB}, 0),
        (
            {
                f"{V1}/{IN_BYTES}": 90 * MIB,
                f"{V1}/{USAGE}": 50 * MIB,
                f"{V1}/memory.stat": f"total_inactive_file {MIB}",
            },
            41,
        ),
    ],
)
def test_the_least_of_all_limits_counts(files, left, tmp_path):
    files = {
        "proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {100 * 1024} kB\n",
        "proc/self/cgroup": "5:devices:/x\n4:memory:/a/b\n0::/a/b\n",
        **files,
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(content))
    assert available_bytes(tmp_path) == left * MIB


def test_where_nothing_is_known_there_is_no_limit(tmp_path):
    assert available_bytes(tmp_path) == sys.maxsize
