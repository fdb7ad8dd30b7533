"""What GPUs a machine has, and how they are, as NVML says it. The only module that talks to the driver.

A machine without a driver, without a GPU or with a GPU that is lost is an answer here, never an error. NVML may hang
when a GPU is sick, so the hub never calls it: the watch does, and writes what it saw to a file (`write_snapshot`)
that everybody else reads (`read_snapshots`).

``python -m gpuclass.gpus.devices`` prints an inventory as JSON, for those who want a process that they can give up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pynvml

from gpuclass.gpus.model import LOCAL, Device, Inventory

SNAPSHOT_MAX_AGE_S = 30.0
"""An older snapshot says nothing about now: its writer has died, or hangs in the driver."""
CHILD_TIMEOUT_S = 20.0  # a driver that has to wake its GPUs takes some seconds; one that hangs takes for ever

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Errors of a program on the GPU, such as a bad address: a student's bug. The GPU is well."""
TOLD_ELSEWHERE_XIDS = frozenset({63, 92, 94})
"""Memory errors that the GPU has dealt with: a row was remapped, one program lost its data. Counters tell the rest."""

WHEELS_NEED_DRIVER = 580
"""Oldest driver branch for CUDA 13, which the torch of images/student is built for."""

_ECC_UNCORRECTED = 1  # nvmlMemoryErrorType_t
_ECC_SINCE_LOADED = 0  # nvmlEccCounterType_t: not over the GPU's whole life
_NOT_THERE = frozenset(
    {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_PERMISSION}
)

NOTES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "No NVIDIA driver is installed on this machine (libnvidia-ml.so.1 is missing)."
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "The NVIDIA driver is installed but not loaded. `modprobe nvidia` says why; after an installation, or with "
        "Secure Boot, a reboot (and enrolling the key) is needed."
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "The NVIDIA driver was upgraded under the running one. Running servers go on, nothing new can start until a "
        "reboot. Hold its packages with `apt-mark hold`."
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: "This user may not ask the NVIDIA driver: look at the rights of /dev/nvidia*.",
}
"""Why there is no driver to ask, and what to do, by NVML's code."""


@dataclass(frozen=True)
class GpuProcess:
    """One process that computes on a device.

    Attributes:
        device: the device's UUID; an instance's own where MIG is on.
        pid: its number on the machine.
        memory: bytes of the device that it holds; None where the driver does not say.
        working: whether it computed since the last question; None where the driver does not say, as in MIG.
    """

    device: str
    pid: int
    memory: int | None
    working: bool | None = None


@dataclass(frozen=True)
class Load:
    """How much of a device is used now.

    Attributes:
        device: the device's UUID.
        used: bytes.
        utilisation: per cent of the time; None where the driver does not say, as in MIG.
    """

    device: str
    used: int
    utilisation: int | None


class Gpus:
    """This machine's GPUs through NVML. Not for several threads.

    The driver stays open between questions, so that Xids which come between them are seen; it is opened again when it
    was away. A GPU that was there and is not any more stays in the inventory, with a fault.

    Args:
        faults: where Xids that took a device out of service are kept, so that a restart of this process does not bring
            the device back; None to keep them in memory only. They are forgotten at the machine's next boot, and by
            `put_in_service`.
        nvml: pynvml, or what behaves like it.
        now: the clock.
    """

    def __init__(
        self,
        engine: str = LOCAL,
        *,
        faults: FaultsFile | None = None,
        nvml: Any = pynvml,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._faults = faults
        self._xids: dict[str, str] = {}
        self._nvml = nvml
        self._now = now
        self._open = False
        self._events: Any = None
        self._known: dict[str, list[Device]] = {}  # GPU → what was listed for it last
        self._sampled: dict[str, int] = {}  # GPU → microsecond of the last sample of its processes' use that was read

    def inventory(self) -> Inventory:
        """What there is now. Takes milliseconds, or as long as a sick driver likes."""
        taken_at = self._now()
        try:
            self._ensure_open()
            driver = str(self._nvml.nvmlSystemGetDriverVersion())
            self._collect_xids()
            found = self._look()
        except self._nvml.NVMLError as error:
            self.close()
            return Inventory(self._engine, taken_at, note=note(error.value, str(error)))
        devices = tuple(self._with_xid(device) for listed in found.values() for device in listed)
        text = "" if devices else "The NVIDIA driver runs but finds no GPU; `lspci -d 10de:` and `dmesg` say more."
        return Inventory(self._engine, taken_at, devices, driver, text)

    def processes(self) -> dict[str, tuple[GpuProcess, ...]]:
        """Who computes on each device now, each process once.

        A device is missing when the driver does not tell its processes: that is not the same as having none.
        """
        found = {}
        for uuid, handle in self._handles():
            with suppress(self._nvml.NVMLError):
                held = self._held(handle)
                working = self._working(uuid, handle)
                found[uuid] = tuple(
                    GpuProcess(uuid, pid, memory, None if working is None else pid in working)
                    for pid, memory in held.items()
                )
        return found

    def loads(self) -> list[Load]:
        """How much of each device is used now; those that cannot say are left out."""
        loads = []
        for uuid, handle in self._handles():
            with suppress(self._nvml.NVMLError):
                used = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used)
                rates = self._optional(self._nvml.nvmlDeviceGetUtilizationRates, handle)
                loads.append(Load(uuid, used, None if rates is None else int(rates.gpu)))
        return loads

    def exclusive(self) -> list[str]:
        """The GPUs that take one process only, so that MPS's daemon is the one way to them (``EXCLUSIVE_PROCESS``)."""
        found = []
        for uuid, handle in self._handles():
            with suppress(self._nvml.NVMLError):
                mode = self._optional(self._nvml.nvmlDeviceGetComputeMode, handle)
                if mode == self._nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS:
                    found.append(uuid)
        return found

    def close(self) -> None:
        """Let go of the driver; the next question opens it again."""
        if self._events is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlEventSetFree(self._events)
        if self._open:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
        self._events, self._open = None, False

    def _ensure_open(self) -> None:
        if not self._open:
            self._nvml.nvmlInit()
            self._open = True
            self._subscribe()

    def _subscribe(self) -> None:
        """Ask for Xids; a GPU that cannot tell them (or is lost) is polled only."""
        with suppress(self._nvml.NVMLError):
            self._events = self._nvml.nvmlEventSetCreate()
            for index in range(self._nvml.nvmlDeviceGetCount()):
                with suppress(self._nvml.NVMLError):
                    handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                    self._nvml.nvmlDeviceRegisterEvents(handle, self._nvml.nvmlEventTypeXidCriticalError, self._events)

    def _collect_xids(self) -> None:
        while self._events is not None:
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 0)
            except self._nvml.NVMLError as error:
                if error.value != self._nvml.NVML_ERROR_TIMEOUT:  # a lost GPU can end the whole set; make a new one
                    self._nvml.nvmlEventSetFree(self._events)
                    self._events = None
                    self._subscribe()
                return
            fault = xid_fault(int(event.eventData))
            with suppress(self._nvml.NVMLError):
                uuid = str(self._nvml.nvmlDeviceGetUUID(event.device)) if fault else ""
                if uuid:
                    self._remember(uuid, fault)

    def _remember(self, uuid: str, fault: str) -> None:
        self._xids[uuid] = fault
        if self._faults is not None:
            self._faults.add(uuid, fault)

    def _with_xid(self, device: Device) -> Device:
        known = self._xids if self._faults is None else self._faults.read()
        fault = device.fault or known.get(device.uuid) or known.get(device.parent, "")
        return replace(device, fault=fault)

    def _look(self) -> dict[str, list[Device]]:
        """GPU → itself, or its instances; with those that are gone."""
        found: dict[str, list[Device]] = {}
        silent: dict[int, str] = {}
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(self._nvml.nvmlDeviceGetUUID(handle))
                found[uuid] = self._listed(handle, uuid, index)
            except self._nvml.NVMLError as error:
                silent[index] = device_fault(error.value, str(error))
        was_at = {listed[0].index.split(":")[0]: gpu for gpu, listed in self._known.items() if gpu not in found}
        for index, fault in silent.items():
            nameless = Device(self._engine, f"unknown-{index}", "GPU that does not answer", str(index), 0)
            gpu = was_at.get(str(index), nameless.uuid)
            found[gpu] = [replace(device, fault=fault) for device in self._known.get(gpu, [nameless])]
        gone = "The driver does not list it any more: it fell off the bus. A reboot, often a cold one, is needed."
        for uuid, listed in self._known.items():
            if uuid not in found and not uuid.startswith("unknown-"):
                found[uuid] = [replace(device, fault=gone) for device in listed]
        self._known = found
        return found

    def _listed(self, handle: Any, uuid: str, index: int) -> list[Device]:
        gpu = Device(
            engine=self._engine,
            uuid=uuid,
            name=str(self._nvml.nvmlDeviceGetName(handle)),
            index=str(index),
            memory=int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total),
            fault=self._fault(handle),
        )
        mig = self._optional(self._nvml.nvmlDeviceGetMigMode, handle)
        if mig is None or mig[0] != self._nvml.NVML_DEVICE_MIG_ENABLE:
            return [gpu]
        instances = [
            replace(
                gpu,
                uuid=str(self._nvml.nvmlDeviceGetUUID(instance)),
                index=f"{index}:{number}",
                memory=int(self._nvml.nvmlDeviceGetMemoryInfo(instance).total),
                parent=uuid,
                profile=profile(str(self._nvml.nvmlDeviceGetName(instance))),
            )
            for number, instance in self._instances(handle)
        ]
        empty = "MIG is on and nothing is cut from it. `nvidia-smi mig -cgi … -C` cuts it; a reboot undoes that."
        return instances or [replace(gpu, fault=gpu.fault or empty)]

    def _instances(self, handle: Any) -> Iterator[tuple[int, Any]]:
        for number in range(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                yield number, self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            except self._nvml.NVMLError as error:
                if error.value not in (self._nvml.NVML_ERROR_NOT_FOUND, self._nvml.NVML_ERROR_INVALID_ARGUMENT):
                    raise

    def _fault(self, handle: Any) -> str:
        """Why a GPU that answers is out of service; empty when it is well."""
        remapped = self._health(self._nvml.nvmlDeviceGetRemappedRows, handle)
        if remapped is not None and remapped[3]:
            return "Its memory has a broken row that could not be remapped: the GPU has to be replaced."
        if self._health(self._nvml.nvmlDeviceGetRetiredPagesPendingStatus, handle):
            return "Its memory has broken pages that are still in use: a reboot takes them out."
        errors = self._health(self._nvml.nvmlDeviceGetTotalEccErrors, handle, _ECC_UNCORRECTED, _ECC_SINCE_LOADED)
        if errors and remapped is None:  # GPUs that remap rows have dealt with the error
            return f"Its memory had {errors} errors that could not be corrected since boot: reboot, then test it."
        return ""

    def _health(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """A question about health; None where the driver has no answer, which is no reason to do without the GPU."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError as error:
            if error.value in (self._nvml.NVML_ERROR_GPU_IS_LOST, self._nvml.NVML_ERROR_RESET_REQUIRED):
                raise
            return None

    def _handles(self) -> list[tuple[str, Any]]:
        """UUID and handle of all that can be given away, as far as it answers."""
        handles: list[tuple[str, Any]] = []
        with suppress(self._nvml.NVMLError):
            self._ensure_open()
            for index in range(self._nvml.nvmlDeviceGetCount()):
                with suppress(self._nvml.NVMLError):
                    gpu = self._nvml.nvmlDeviceGetHandleByIndex(index)
                    mig = self._optional(self._nvml.nvmlDeviceGetMigMode, gpu)
                    on = mig is not None and mig[0] == self._nvml.NVML_DEVICE_MIG_ENABLE
                    instances = [instance for _, instance in self._instances(gpu)] if on else []
                    for handle in instances or [gpu]:
                        handles.append((str(self._nvml.nvmlDeviceGetUUID(handle)), handle))
        return handles

    def _held(self, handle: Any) -> dict[int, int | None]:
        """Bytes by process. MPS clients stand in a list of their own, and on some drivers in both."""
        listed = list(self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle))
        listed += self._optional(self._nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, handle) or []
        held: dict[int, int | None] = {}
        for process in listed:
            pid = int(process.pid)
            known = [memory for memory in (held.get(pid), process.usedGpuMemory) if memory is not None]
            held[pid] = max(known, default=None)
        return held

    def _working(self, uuid: str, handle: Any) -> set[int] | None:
        """Processes that computed since the last question; None where the driver does not say."""
        since = self._sampled.get(uuid, 0)
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, since)
        except self._nvml.NVMLError as error:
            nobody = (self._nvml.NVML_ERROR_NOT_FOUND, self._nvml.NVML_SUCCESS)  # no sample since then
            return set() if error.value in nobody else None
        self._sampled[uuid] = max([since, *(int(sample.timeStamp) for sample in samples)])
        return {int(sample.pid) for sample in samples if sample.smUtil and int(sample.timeStamp) > since}

    def _optional(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """What not every GPU or driver can say: None then."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError as error:
            if error.value not in _NOT_THERE:
                raise
            return None


def note(code: int, text: str) -> str:
    """Why there is nothing, for the code of an error of NVML as a whole."""
    return NOTES.get(
        code, f"The NVIDIA driver does not answer: {text} (NVML {code}). `nvidia-smi` and `dmesg` say more."
    )


def device_fault(code: int, text: str) -> str:
    """Why a device is out of service, for the code with which NVML answers questions about it."""
    if code == pynvml.NVML_ERROR_GPU_IS_LOST:
        return "The GPU is lost: it fell off the bus or its driver gave it up. A reboot, often a cold one, is needed."
    if code == pynvml.NVML_ERROR_RESET_REQUIRED:
        return "The GPU asks for a reset: `nvidia-smi --gpu-reset -i …` when nobody is on it, or reboot."
    return f"The GPU does not answer: {text} (NVML {code}). `nvidia-smi` and `dmesg` say more."


def xid_fault(xid: int) -> str:
    """Why an Xid takes a device out of service; empty for a program's own fault and for what was dealt with."""
    if xid in APPLICATION_XIDS | TOLD_ELSEWHERE_XIDS:
        return ""
    return (
        f"The driver reported Xid {xid}: the GPU, its memory or its link has failed. Reset it with `nvidia-smi "
        "--gpu-reset`, then `gpuclass gpus --in-service UUID`; or reboot."
    )


def profile(name: str) -> str:
    """MIG profile in an instance's name.

    >>> profile("NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    '1g.10gb'
    """
    return name.partition(" MIG ")[2]


def driver_advice(driver: str) -> str:
    """What is wrong with a driver's version for the torch of the images; empty when nothing is, or there is none."""
    branch = driver.partition(".")[0]
    if not branch.isdigit() or int(branch) >= WHEELS_NEED_DRIVER:
        return ""
    return (
        f"Driver {driver} is too old: torch in the student image is built for CUDA 13 and needs {WHEELS_NEED_DRIVER} "
        "or newer; until then it sees no GPU. Upgrade the driver, or build an image with a torch for CUDA 12."
    )


# Files: the watch writes, others read


class FaultsFile:
    """Devices that an Xid took out of service, until the machine boots again or somebody puts them back.

    Args:
        path: JSON file; nobody but the watch and `put_in_service` writes it.
        boot: this boot of the machine; faults of an earlier one count no more.
    """

    def __init__(self, path: Path, boot: str | None = None) -> None:
        self._path = path
        self._boot = boot if boot is not None else Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()

    def read(self) -> dict[str, str]:
        """UUID → why."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(k): str(v) for k, v in content["faults"].items()} if content["boot"] == self._boot else {}
        except (OSError, ValueError, KeyError, AttributeError):
            return {}

    def add(self, uuid: str, fault: str) -> None:
        """Take a device out of service."""
        self._write({**self.read(), uuid: fault})

    def put_in_service(self, uuid: str) -> bool:
        """Bring a device back; False when nothing kept it out."""
        faults = self.read()
        if uuid not in faults:
            return False
        self._write({key: value for key, value in faults.items() if key != uuid})
        return True

    def _write(self, faults: Mapping[str, str]) -> None:
        _replace(self._path, {"boot": self._boot, "faults": dict(faults)})


def faults_file(folder: Path, engine: str = LOCAL) -> FaultsFile:
    """Where an engine's machine keeps its faults; ``folder`` is ``settings.gpus_folder``."""
    return FaultsFile(folder / f"{engine}.faults.json")


def write_snapshot(folder: Path, inventory: Inventory) -> None:
    """Put an inventory where the hub and others read it: ``<engine>.json``, replaced in one step.

    Raises:
        OSError: the folder cannot be written to.
    """
    _replace(folder / f"{inventory.engine}.json", asdict(inventory))


def read_snapshots(folder: Path, now: float, max_age: float = SNAPSHOT_MAX_AGE_S) -> list[Inventory]:
    """The inventories that are fresh, by engine. An engine that is missing here is unknown, not empty.

    One that is too old, from the future (the clock was set) or unreadable is missing.
    """
    found = [inventory for path in sorted(folder.glob("*.json")) if (inventory := _read(path)) is not None]
    return [inventory for inventory in found if abs(now - inventory.taken_at) <= max_age]


def _read(path: Path) -> Inventory | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        devices = tuple(Device(**device) for device in content.pop("devices"))
        return Inventory(**content, devices=devices)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # another file of this folder, or a broken one


def _replace(path: Path, content: object) -> None:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.chmod(0o644)  # root's umask may be stricter, and the service user has to read what root writes
    fresh.replace(path)


@dataclass(frozen=True)
class Answer:
    """What a process that was asked for it said: see `Gpus.inventory`, `Gpus.loads` and `Gpus.exclusive`."""

    inventory: Inventory
    loads: tuple[Load, ...] = ()
    exclusive: frozenset[str] = frozenset()


def ask_in_child(timeout_s: float = CHILD_TIMEOUT_S, now: Callable[[], float] = time.time) -> Answer:
    """Ask about this machine's GPUs in a process that can be given up when the driver hangs."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gpuclass.gpus.devices"], capture_output=True, timeout=timeout_s, check=True
        )
    except subprocess.TimeoutExpired:
        hung = f"The NVIDIA driver does not answer within {timeout_s:.0f} s: a GPU is sick. Look at `dmesg`; reboot."
        return Answer(Inventory(LOCAL, now(), note=hung))
    except subprocess.CalledProcessError as error:
        last = (error.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return Answer(Inventory(LOCAL, now(), note=f"Asking the NVIDIA driver failed: {last}"))
    content = json.loads(done.stdout)
    devices = tuple(Device(**device) for device in content["inventory"].pop("devices"))
    return Answer(
        Inventory(**content["inventory"], devices=devices),
        tuple(Load(**load) for load in content["loads"]),
        frozenset(content["exclusive"]),
    )


if __name__ == "__main__":
    gpus = Gpus()
    answer = Answer(gpus.inventory(), tuple(gpus.loads()), frozenset(gpus.exclusive()))
    print(json.dumps({**asdict(answer), "exclusive": sorted(answer.exclusive)}))
