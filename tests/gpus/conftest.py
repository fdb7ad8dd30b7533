"""A machine with GPUs that are not there, and engines that can give them to containers."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.gpus.engines import UUIDS, Kind, NestedEngine, nested
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


@pytest.fixture(scope="session", params=list(Kind))
def engine(request: pytest.FixtureRequest) -> Iterator[NestedEngine]:
    """An engine of each kind with the devices `UUIDS`; who kills it starts it again."""
    host = docker.from_env()
    try:
        with nested(host, request.param, devices=UUIDS) as found:
            yield found
    finally:
        host.close()
