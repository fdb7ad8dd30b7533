"""What all tests may use: a class's settings in a folder of their own, and GPUs that are not there.

The tests of gpus/, queue/ and watch/ share one session's engines: starting them takes seconds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from gpuclass.settings import Settings, load
from tests.gpus.engines import UUIDS, Kind, NestedEngine, nested
from tests.gpus.nvml import NvmlDouble, build_library

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Write a class.toml and load it: ``make_settings('[network]\\ninternet = "open"')``."""

    def make(more: str = "", *, name: str = "camp", title: str = "Camp") -> Settings:
        path = tmp_path / "class.toml"
        path.write_text(f'[class]\nname = "{name}"\ntitle = "{title}"\n{more}', encoding="utf-8")
        return load(path, environ={})

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """A class with every setting at its default."""
    return make_settings()


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


EXCLUSIVE = ("tests/docker/", "tests/classroom/", "tests/gpus/", "tests/queue/", "tests/watch/", "tests/kills/")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Processes share the tests by file; what needs the machine's network and engines to itself stays in one."""

    def _split_scope(self, nodeid: str) -> str:
        return "machine" if nodeid.startswith(EXCLUSIVE) else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """The scheduler of ``-n``; ``--dist loadgroup`` of pytest-xdist 3.8 groups nothing with pytest 9.2."""
    return ByFile(config, log)
