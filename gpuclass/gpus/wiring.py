"""What Docker is asked for so that a container gets its seat's device, and no other. Pure but for `capability_of`.

A device is always named by its UUID: ``count=1`` gives every container the same GPU. Engines that know CDI are asked
through it (a container then keeps its GPU when systemd reloads); older ones through their ``nvidia`` driver.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gpuclass.errors import PlainError
from gpuclass.gpus.model import LOCAL, Device, Enforcement, Lease, Mode
from gpuclass.mounts import Mount

CDI_KIND = "nvidia.com/gpu"
MPS_FOLDER = Path("/run/gpuclass-mps")
"""On the machine with the GPUs: ``<uuid>/pipe`` and ``<uuid>/shm`` of each GPU's MPS daemon; see docs/howto/gpus.md."""
MPS_PIPE = "/run/nvidia-mps"  # where a container finds its GPU's daemon
CUDA_CONTEXT = 2**29
"""Bytes that one process's CUDA context takes of a device before the first tensor: 0.3 to 0.6 GiB on GPUs of today."""
MIB = 2**20

HOOK = "nvidia-container-runtime-hook"  # dockerd looks for it when it starts, and then has its ``nvidia`` driver
GENERATE = "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"
SEAT_VARIABLE = "GPUCLASS_SEAT"

ENFORCEMENT = {
    Mode.EXCLUSIVE: Enforcement.HARDWARE,
    Mode.MIG: Enforcement.HARDWARE,
    Mode.MPS: Enforcement.DRIVER,
    Mode.SHARED: Enforcement.WATCHDOG,
}
"""Who holds a seat's memory limit, by mode."""


class WiringError(PlainError):
    """The engine cannot give this device to a container; the text says why and what to do."""


class Way(StrEnum):
    """How an engine gives devices to containers; also the name of the driver in Docker's request."""

    CDI = "cdi"
    NVIDIA = "nvidia"


@dataclass(frozen=True)
class Capability:
    """What an engine can do.

    Attributes:
        way: how it is asked.
        reason: why so, for people, in English.
        devices: UUIDs that its CDI specifications name; None when that is not known, and for `Way.NVIDIA`.
    """

    way: Way
    reason: str
    devices: frozenset[str] | None = None


@dataclass(frozen=True)
class Wiring:
    """What one container is created with besides everything else.

    Attributes:
        device_requests: for docker-py's host configuration.
        environment: goes over what the class sets.
        mounts: in addition to the class's.
    """

    device_requests: tuple[dict[str, Any], ...] = ()
    environment: Mapping[str, str] | None = None
    mounts: tuple[Mount, ...] = ()


def request(
    lease: Lease | None, mode: Mode, capability: Capability, device: Device | None = None, of: int = 1
) -> Wiring:
    """What the container of a lease is asked for.

    Args:
        lease: whose; None, or one without seats, gives a container without any GPU.
        mode: the class's.
        capability: what the lease's engine can do.
        device: the lease's device; needed when it has seats.
        of: how many seats that device has in all.

    Raises:
        WiringError: the engine does not know the device.
    """
    if lease is None or not lease.seats:
        return Wiring(environment={"NVIDIA_VISIBLE_DEVICES": "void", SEAT_VARIABLE: json.dumps({"gpu": False})})
    if device is None or device.uuid != lease.device:
        raise ValueError(f"the lease is for {lease.device}, not for {device}")
    if capability.devices is not None and device.uuid not in capability.devices:
        raise WiringError(
            f"Docker's CDI specification does not know {device.uuid} ({device.name}). It is older than the driver or "
            f"the MIG layout: run `{GENERATE}`."
        )
    environment = {SEAT_VARIABLE: json.dumps(describe(lease, mode, device, of))}
    if capability.way is Way.CDI:
        asked: dict[str, Any] = {"driver": Way.CDI.value, "device_ids": [f"{CDI_KIND}={device.uuid}"]}
        environment["NVIDIA_VISIBLE_DEVICES"] = "void"  # the variable is the other way's; both at once would add up
    else:
        asked = {
            "driver": Way.NVIDIA.value,
            "device_ids": [device.uuid],
            "capabilities": [["gpu", "compute", "utility"]],
        }
        environment["NVIDIA_VISIBLE_DEVICES"] = device.uuid  # the engine adds the same; two values would be confusing
        environment["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
    if mode is Mode.SHARED:
        environment["PYTORCH_CUDA_ALLOC_CONF"] = f"per_process_memory_fraction:{fraction(lease.memory, device.memory)}"
    if mode is Mode.MPS:
        environment["CUDA_MPS_PIPE_DIRECTORY"] = MPS_PIPE
        environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={lease.memory // MIB}M"  # 0: the only one it sees
    return Wiring((asked,), environment, mps_mounts(device.uuid) if mode is Mode.MPS else ())


def describe(lease: Lease, mode: Mode, device: Device, of: int) -> dict[str, Any]:
    """A seat as the container is told of it, in `SEAT_VARIABLE`; memory in bytes."""
    return {
        "gpu": True,
        "device": device.name,
        "uuid": device.uuid,
        "memory": lease.memory,
        "device_memory": device.memory,
        "mode": mode.value,
        "enforcement": ENFORCEMENT[mode].value,
        "shares": len(lease.seats),
        "of": of,
    }


def fraction(memory: int, device_memory: int) -> str:
    """Share of a device's memory for PyTorch's own allocations, rounded down.

    PyTorch does not count what CUDA itself takes in each process; NVML, and so the watch, does.

    >>> fraction(20 * 2**30, 80 * 2**30)
    '0.2437'
    """
    own = max(memory - CUDA_CONTEXT, memory // 2)
    return f"{min(own * 10_000 // device_memory, 10_000) / 10_000:.4f}"


def mps_mounts(uuid: str) -> tuple[Mount, ...]:
    """The folders through which a container reaches its GPU's MPS daemon; all its clients then share one /dev/shm."""
    return tuple(
        {"type": "bind", "source": str(MPS_FOLDER / uuid / name), "target": target, "read_only": False}
        for name, target in (("pipe", MPS_PIPE), ("shm", "/dev/shm"))
    )


def capability(info: Mapping[str, Any], specified: Iterable[str] | None = None) -> Capability:
    """How an engine has to be asked.

    Args:
        info: its answer to ``GET /info``. From Docker 25 it has ``CDISpecDirs`` where CDI is on, from 28.2
            ``DiscoveredDevices`` as well.
        specified: UUIDs that the CDI specifications in those folders name, where they can be read from here.
    """
    version = str(info.get("ServerVersion", "?"))
    if not info.get("CDISpecDirs"):
        return Capability(Way.NVIDIA, f"Docker {version} with its nvidia driver: no CDI here")
    discovered = info.get("DiscoveredDevices")
    if discovered is not None:
        names = (str(found.get("ID", "")).partition("=") for found in discovered)
        specified = [name for kind, _, name in names if kind == CDI_KIND]
    if specified is None:
        return Capability(Way.CDI, f"Docker {version} with CDI; its specifications cannot be read from here")
    uuids = frozenset(name for name in specified if name.startswith(("GPU-", "MIG-")))
    if uuids:
        return Capability(Way.CDI, f"Docker {version} with CDI", uuids)
    return Capability(
        Way.NVIDIA,
        f"Docker {version} with its nvidia driver: CDI is on, but no specification names a GPU by its UUID "
        f"(`{GENERATE}` writes one)",
    )


def capability_of(client: Any, engine: str = LOCAL) -> Capability:
    """Ask an engine what it can do.

    Args:
        client: a ``docker.APIClient``.
        engine: which; only the local one's specifications can be read from here.
    """
    info = client.info()
    folders = [Path(folder) for folder in info.get("CDISpecDirs") or ()]
    return capability(info, specified(folders) if engine == LOCAL else None)


def specified(folders: Iterable[Path]) -> list[str]:
    """UUIDs of the NVIDIA devices that the CDI specifications in these folders name; unreadable files have none."""
    names: list[str] = []
    for folder in folders:
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.json")]):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if re.search(rf'kind"?\s*:\s*"?{CDI_KIND}\b', text):
                names += re.findall(r'\bname"?\s*:\s*"?((?:GPU|MIG)-[\w./-]+)', text)
    return names


def toolkit_problem(capability: Capability, has_hook: bool) -> str:
    """Why an engine that is asked through its ``nvidia`` driver has none, in English; empty when it should have."""
    if capability.way is Way.CDI or has_hook:
        return ""
    return (
        f"NVIDIA's container toolkit is not on this machine ({HOOK} is missing): no server with a seat can start. "
        "`apt-get install nvidia-container-toolkit`, then restart Docker (docs/howto/gpus.md)"
    )


def mps_problems(uuids: Iterable[str], exclusive: Collection[str], folder: Path = MPS_FOLDER) -> list[str]:
    """What is missing for mode ``mps`` on this machine, in English.

    Args:
        uuids: the GPUs that the class uses.
        exclusive: those that take one process only. On others a program that does not go through the daemon, which a
            student can arrange, has no limit at all.
        folder: where the daemons' folders are.
    """
    problems = []
    for uuid in uuids:
        if not (folder / uuid / "pipe" / "nvidia-cuda-mps-control.pid").exists():
            problems.append(f"{uuid} has no MPS daemon: `systemctl start gpuclass-mps@{uuid}` (docs/howto/gpus.md)")
        elif uuid not in exclusive:
            problems.append(
                f"{uuid} also takes programs that go around its MPS daemon; those have no memory limit: `nvidia-smi "
                f"-i {uuid} -c EXCLUSIVE_PROCESS`"
            )
    return problems


_REFUSALS = (
    (
        re.compile(rf"path does not exist: (?P<what>{MPS_FOLDER}/\S+?)\W*$"),
        "There is no MPS daemon for the seat's GPU ({what} is missing): docs/howto/gpus.md, section mps.",
    ),
    (
        re.compile(r"unresolvable CDI devices (?P<what>[^\s:\"]+)"),
        "Docker's CDI specification does not know {what}: drivers and MIG layouts change the devices. Run "
        f"`{GENERATE}` again.",
    ),
    (
        re.compile(r'could not select device driver "(?P<what>\w*)"'),
        "Docker has no driver {what!r} for GPUs: install nvidia-container-toolkit, restart Docker.",
    ),
    (
        re.compile(r"unknown device(?: id)?:? ?(?P<what>(?:GPU|MIG)-[\w-]+)?|device error: [^\n]*"),
        "The NVIDIA driver does not know the seat's device {what}: it was removed, or MIG was cut anew.",
    ),
    (
        re.compile(r"nvidia-container-cli: (?P<what>[^\n]+)|driver/library version mismatch|nvml error: [^\n]+"),
        "NVIDIA's container toolkit cannot set the GPU up ({what}); `nvidia-smi` on the machine says more.",
    ),
)


def explain(message: str) -> str:
    """What a refusal of Docker's means when it is about GPUs, and what to do, in English; empty when it is not.

    Args:
        message: the text of Docker's error at a container's creation or start.
    """
    for pattern, words in _REFUSALS:
        if found := pattern.search(message):
            what = found.groupdict().get("what") or found.group(0)
            return words.format(what=what)
    return ""
