"""A machine with GPUs that are not there."""

from pathlib import Path

import pytest

from tests.gpus.nvml import NvmlDouble, build_library


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The double of libnvidia-ml.so.1, compiled."""
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvmlDouble:
    """A machine with a driver and no GPU yet, seen by this process's pynvml."""
    double = NvmlDouble(tmp_path / "machine.txt", nvml_library)
    double.write()
    double.load(monkeypatch)
    return double
