"""The NVML double for tests: the C library, and the machine that it tells of."""

from __future__ import annotations

import shutil
import subprocess
from ctypes import CDLL
from dataclasses import dataclass, field
from pathlib import Path

import pynvml
import pytest

GIB = 2**30
VARIABLE = "GPUCLASS_NVML_DOUBLE"


def build_library(folder: Path) -> Path:
    """Compile nvml_double.c to ``folder/libnvidia-ml.so.1``: a program with ``LD_LIBRARY_PATH=folder`` loads it."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing; `gpuclass setup --tests`, which `make test` runs first, installs it")
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_double.c")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library


@dataclass
class UnitDouble:
    """A GPU, or with ``instance`` a MIG instance of the GPU before it. See nvml_double.c for what each value does."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    memory: int = 80 * GIB
    used: int = 0
    util: int = 0
    lost: int = 0
    mig: int = 0
    ecc: int = 0
    remap: tuple[int, int] = (0, 0)
    retired: int = 0
    processes: dict[int, int] = field(default_factory=dict)
    silent: int = 0
    compute: int = 0
    odd: int = 0
    computes: dict[int, int] = field(default_factory=dict)
    xids: list[int] = field(default_factory=list)
    instance: bool = False

    def lines(self) -> list[str]:
        """The unit as the library reads it."""
        kind = "instance" if self.instance else "gpu"
        return [
            f"{kind} {self.uuid} {self.name}",
            f"memory {self.memory} {self.used}",
            *(
                f"{key} {getattr(self, key)}"
                for key in ("util", "lost", "mig", "ecc", "retired", "silent", "compute", "odd")
            ),
            f"remap {self.remap[0]} {self.remap[1]}",
            *(f"process {pid} {memory}" for pid, memory in self.processes.items()),
            *(f"sm {pid} {percent}" for pid, percent in self.computes.items()),
            *(f"xid {xid}" for xid in self.xids),
        ]


@dataclass
class NvmlDouble:
    """A machine with GPUs that are not there. Change what it has, then ``write`` it.

    Attributes:
        path: the file that the library reads; programs find it by ``environment``.
        library: the library.
        units: GPUs, each followed by its MIG instances.
        init: code with which NVML refuses to start; 0 for none.
        driver: version.
        hang: whether every call hangs for ever.
    """

    path: Path
    library: Path
    units: list[UnitDouble] = field(default_factory=list)
    init: int = 0
    driver: str = "580.95.05"
    hang: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to see this machine."""
        return {VARIABLE: str(self.path), "LD_LIBRARY_PATH": str(self.library.parent)}

    def write(self, *units: UnitDouble) -> None:
        """Let programs see what is there now; with arguments, these units instead."""
        self.units = list(units) or self.units
        lines = [f"init {self.init}", f"driver {self.driver}", *(line for unit in self.units for line in unit.lines())]
        lines += ["hang 1"] if self.hang else []
        fresh = self.path.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
        fresh.replace(self.path)

    def load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process's pynvml use the library, until the test ends."""
        monkeypatch.setenv(VARIABLE, str(self.path))
        monkeypatch.setattr(pynvml, "nvmlLib", CDLL(str(self.library)))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
