"""A seat's container in real engines whose devices are not there: CDI in Debian 13's, the nvidia driver in ours."""

import json
from typing import Any

import docker.errors
import pytest

from gpuclass.gpus.model import Device, Lease, Mode, Seat, State
from gpuclass.gpus.wiring import MPS_FOLDER, Way, capability_of, explain, request
from gpuclass.settings import Settings
from tests.gpus.engines import QUICK, UUIDS, Kind, NestedEngine, look_inside

pytestmark = pytest.mark.docker

GIB = 2**30
DEVICES = tuple(Device("local", uuid, "H100", str(n), 80 * GIB) for n, uuid in enumerate(UUIDS))


def lease_of(device: Device | None, shares: int = 1, memory: int = 20 * GIB) -> Lease:
    seats = tuple(Seat("local", device.uuid, slot, memory) for slot in range(shares)) if device else ()
    return Lease(1, "s01", State.RESERVED, seats, gpu=device is not None)


def inside(
    engine: NestedEngine, settings: Settings, device: Device | None, mode: Mode = Mode.EXCLUSIVE, **lease: Any
) -> tuple[list[str], dict[str, str]]:
    """The GPUs and the environment that a student's container has."""
    capability = capability_of(engine.client.api, "nested")
    return look_inside(engine, settings, request(lease_of(device, **lease), mode, capability, device))


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


def test_in_mps_a_container_shares_memory_with_its_gpus_daemon(engine: NestedEngine, settings: Settings) -> None:
    folder = MPS_FOLDER / UUIDS[1]
    status, output = engine.container.exec_run(
        ["sh", "-c", f"mkdir -p {folder}/pipe {folder}/shm && touch {folder}/shm/of-the-daemon"]
    )
    assert status == 0, output
    found, variables = inside(engine, settings, DEVICES[1], Mode.MPS)
    assert found == ["nvidia1", "of-the-daemon"]
    assert variables["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=20480M"


def test_a_gpu_without_an_mps_daemon_fails_plainly(engine: NestedEngine, settings: Settings) -> None:
    with pytest.raises(docker.errors.APIError) as refusal:
        inside(engine, settings, DEVICES[0], Mode.MPS)
    assert "There is no MPS daemon" in explain(str(refusal.value))


def test_a_killed_engine_comes_back(engine: NestedEngine, settings: Settings) -> None:
    engine.kill()
    assert not engine.answers()
    engine.start(*QUICK)
    assert inside(engine, settings, DEVICES[0])[0] == ["nvidia0"]
