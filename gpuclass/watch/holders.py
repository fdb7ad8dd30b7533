"""From a process id, as NVML tells it, to the container it runs in, and a signal to it and to no other process.

NVML runs on the host and tells the host's process ids. The hub, the proxy and every student's kernel run as the same
user here, so a number that has been given to another process meanwhile must never be signalled: the process is held by
a descriptor first, then looked at again, and only then signalled through that descriptor.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NO_PROCESS = (errno.ESRCH, errno.ENOENT, errno.EINVAL)  # the last two: it is a thread's number now; by kernel version
_START_FIELD = 19  # starttime, counted from the field after the name; see proc(5)
_CPU_FIELDS = slice(11, 13)  # utime, stime


@dataclass(frozen=True)
class Process:
    """One process of the machine at one moment.

    Attributes:
        pid: its number.
        started: clock ticks from boot to its start; with the number it names the process for good.
        cgroups: Docker's ids in the path of its control group, outermost first; empty outside containers.
        cpu: clock ticks of CPU time that it has used.
    """

    pid: int
    started: int
    cgroups: tuple[str, ...]
    cpu: int = 0


def container_ids(cgroup: str) -> tuple[str, ...]:
    """Docker's ids in the text of ``/proc/<pid>/cgroup``, outermost first; an engine in a container has two.

    Takes cgroup v1 and v2, paths of the cgroupfs driver (``/docker/<id>``) and of systemd (``docker-<id>.scope``).
    """
    found: dict[str, None] = {}
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        found |= dict.fromkeys(_ID.findall(path))
    return tuple(found)


def look(pid: int, proc: Path = PROC) -> Process | None:
    """The process of this number now; None when there is none."""
    folder = proc / str(pid)
    try:
        cgroup = (folder / "cgroup").read_text(errors="replace")
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()  # the name may hold anything
        if fields[0] == "Z":  # its first thread has ended: cgroup v1 then says "/", and the others still hold memory
            cgroup += "".join(path.read_text(errors="replace") for path in folder.glob("task/*/cgroup"))
        started, cpu = int(fields[_START_FIELD]), sum(int(field) for field in fields[_CPU_FIELDS])
    except (OSError, ValueError, IndexError):
        return None
    return Process(pid, started, container_ids(cgroup), cpu)


def send(process: Process, container: str, number: signal.Signals, proc: Path = PROC) -> bool:
    """Signal a process if it still is the one that was looked at and still runs in this container.

    Returns:
        Whether it was signalled. False when it has ended, whatever has its number now.

    Raises:
        OSError: it belongs to another user, or the kernel is too old for such descriptors (before 5.3).
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return False
        raise
    try:
        now = look(process.pid, proc)
        if now is None or now.started != process.started or container not in now.cgroups:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
