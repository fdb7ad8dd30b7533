"""Memory and CPU of the container that this process is in, as the kernel accounts them: cgroup v1 and v2.

Read from the inside, where /sys/fs/cgroup shows the container's own group and nothing can be changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Main memory of a container, in bytes.

    Attributes:
        used: what its processes, /dev/shm and /tmp hold; without the file cache, which is given up when it is needed.
        limit: what it may hold.
        kills: how many of its processes the kernel has killed because the limit was reached.
    """

    used: int
    limit: int
    kills: int


def memory(root: Path = CGROUPS, machine: int | None = None) -> Memory | None:
    """The container's memory; None where the kernel does not tell.

    Args:
        root: where the control groups are mounted.
        machine: bytes that the machine has, which is the limit of a container without one; asked if not given.
    """
    if machine is None:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (root / "memory.current").exists():
        usage, limit, cache, events = "memory.current", "memory.max", "inactive_file", "memory.events"
    else:
        root /= "memory"
        usage, limit, events = "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"
        cache = "total_inactive_file"
    try:
        used = int((root / usage).read_text())
        allowed = (root / limit).read_text().strip()
        inactive = _counters(root / "memory.stat").get(cache, 0)
        kills = _counters(root / events).get("oom_kill", 0)
    except (OSError, ValueError):
        return None
    return Memory(max(0, used - inactive), machine if allowed == "max" else min(machine, int(allowed)), kills)


def cpus(root: Path = CGROUPS) -> float:
    """How many CPU cores the container may keep busy."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = (_text(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota in {"", "max", "-1"} or not period:
        return float(len(os.sched_getaffinity(0)))
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _counters(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) == 2}
