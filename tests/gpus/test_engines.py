"""A seat's container in real engines whose devices are not there: CDI in Debian 13's, the nvidia driver in ours."""

import json
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest
from docker.types import DeviceRequest

from gpuclass.gpus.model import Device, Lease, Mode, Seat, State
from gpuclass.gpus.wiring import Way, capability_of, explain, request
from gpuclass.settings import Settings
from gpuclass.spawner import environment, host_config
from tests.gpus.engines import QUICK, SEAT_IMAGE, Kind, NestedEngine, nested

pytestmark = pytest.mark.docker

GIB = 2**30
UUIDS = ("GPU-aaaa0000-0000-0000-0000-000000000000", "GPU-bbbb0000-0000-0000-0000-000000000000", "MIG-cccc0000")
DEVICES = tuple(Device("local", uuid, "H100", str(n), 80 * GIB) for n, uuid in enumerate(UUIDS))
IMAGE_THAT_WANTS_ALL = {"NVIDIA_VISIBLE_DEVICES": "all"}


@pytest.fixture(scope="module")
def host() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module", params=list(Kind))
def engine(request: pytest.FixtureRequest, host: docker.DockerClient) -> Iterator[NestedEngine]:
    with nested(host, request.param, devices=UUIDS) as found:
        yield found


def lease_of(device: Device | None, shares: int = 1, memory: int = 20 * GIB) -> Lease:
    seats = tuple(Seat("local", device.uuid, slot, memory) for slot in range(shares)) if device else ()
    return Lease(1, "s01", State.RESERVED, seats, gpu=device is not None)


def inside(
    engine: NestedEngine, settings: Settings, device: Device | None, mode: Mode = Mode.EXCLUSIVE, **lease: Any
) -> tuple[list[str], dict[str, str]]:
    """The GPUs and the environment that a student's container has, hardened as the spawner asks for it."""
    wiring = request(lease_of(device, **lease), mode, capability_of(engine.client.api, "nested"), device)
    api = engine.client.api
    config = api.create_host_config(
        **host_config(settings),
        network_mode="none",
        device_requests=[DeviceRequest(**asked) for asked in wiring.device_requests],
    )
    container = api.create_container(
        SEAT_IMAGE,
        ["sh", "-c", "ls /dev; echo --; env"],
        environment={**IMAGE_THAT_WANTS_ALL, **environment(settings, "student"), **(wiring.environment or {})},
        host_config=config,
        user="1000",
        labels={"gpuclass.class": settings.class_.name},
    )
    try:
        api.start(container)
        assert api.wait(container)["StatusCode"] == 0
        devices, _, variables = api.logs(container).decode().partition("--\n")
    finally:
        api.remove_container(container, force=True)
    pairs = [line.partition("=")[::2] for line in variables.splitlines()]
    assert len(pairs) == len(dict(pairs)), "a variable is there twice"
    return [name for name in devices.split() if name.startswith("nvidia")], dict(pairs)


def test_each_kind_of_engine_is_asked_in_its_way(engine: NestedEngine) -> None:
    found = capability_of(engine.client.api, "nested")
    assert found.way is (Way.CDI if engine.kind is Kind.CDI else Way.NVIDIA)


@pytest.mark.parametrize("number", range(len(DEVICES)))
def test_a_container_has_the_device_of_its_seat_and_no_other(
    engine: NestedEngine, settings: Settings, number: int
) -> None:
    devices, _ = inside(engine, settings, DEVICES[number])
    assert devices == [f"nvidia{number}"]


def test_a_container_without_a_seat_has_no_device_though_its_image_wants_all(
    engine: NestedEngine, settings: Settings
) -> None:
    devices, variables = inside(engine, settings, None)
    assert devices == []
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert json.loads(variables["GPUCLASS_SEAT"]) == {"gpu": False}


def test_a_container_is_told_what_it_has(engine: NestedEngine, settings: Settings) -> None:
    devices, variables = inside(engine, settings, DEVICES[1], Mode.SHARED, shares=2)
    assert devices == ["nvidia1"]
    told = json.loads(variables["GPUCLASS_SEAT"])
    assert (told["uuid"], told["memory"], told["enforcement"]) == (UUIDS[1], 40 * GIB, "watchdog")
    assert variables["PYTORCH_CUDA_ALLOC_CONF"] == "per_process_memory_fraction:0.4937"


def test_a_device_that_the_engine_does_not_know_fails_plainly(engine: NestedEngine, settings: Settings) -> None:
    with pytest.raises(docker.errors.APIError) as refusal:
        inside(engine, settings, Device("local", "GPU-gone", "H100", "9", GIB))
    assert "GPU-gone" in explain(str(refusal.value))


def test_a_killed_engine_comes_back(engine: NestedEngine, settings: Settings) -> None:
    engine.kill()
    assert not engine.answers()
    engine.start(*QUICK)
    assert inside(engine, settings, DEVICES[0])[0] == ["nvidia0"]
