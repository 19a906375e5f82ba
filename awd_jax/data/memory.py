"""How much memory is left for this process."""

import contextlib
import sys
from pathlib import Path

# Of a control group, by the controller that /proc/self/cgroup names ("" in version 2): its mount,
# its limit, what it uses, and what of that are files which the system would drop.
_GROUPS = {
    "": ("", "memory.max", "memory.current", "inactive_file"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(root: Path) -> int:
    """What the system can still give, or a control group of this process if that is less.

    Args:
      root: the root of the file system, which has proc/ and sys/ on Linux. Elsewhere nothing is
        known, and the answer is `sys.maxsize`.
    """
    left = [sys.maxsize]
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            left.append(int(line.split()[1]) * 1024)
    for line in _lines(root / "proc/self/cgroup"):
        _, controller, path = line.split(":", 2)
        if controller in _GROUPS:
            mount, *names = _GROUPS[controller]
            top = root / "sys/fs/cgroup" / mount
            group = top / path.lstrip("/")
            # A limit of a group above holds too; in a container the group itself is at the top.
            above = (group, *group.parents)
            left += [_left(g, *names) for g in above if g.is_relative_to(top)]
    return min(left)


def _left(group: Path, limit_name: str, usage_name: str, droppable_name: str) -> int:
    limit, usage = _lines(group / limit_name), _lines(group / usage_name)
    if not limit or not usage or limit[0] == "max":
        return sys.maxsize
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    return max(0, int(limit[0]) - int(usage[0]) + int(stat.get(droppable_name, 0)))


def _lines(path: Path) -> list[str]:
    """The lines of a file, none if it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").splitlines()
    return []
