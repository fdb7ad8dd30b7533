"""What only a real GPU shows: CUDA in students' containers. With ``GPUCLASS_GPU=1`` a machine without a GPU fails."""

import json
import os
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.types import DeviceRequest

from gpuclass import images
from gpuclass.gpus.devices import Gpus, ask_in_child, driver_advice
from gpuclass.gpus.model import Device, Inventory, Lease, Mode, Seat, State
from gpuclass.gpus.wiring import capability_of, request
from gpuclass.settings import Settings
from gpuclass.spawner import environment, host_config
from gpuclass.watch import holders

pytestmark = [pytest.mark.gpu, pytest.mark.images, pytest.mark.docker]

REQUESTED = "GPUCLASS_GPU"
GIB = 2**30
TIMEOUT_S = 180

KERNEL = """
    import json, torch
    properties = torch.cuda.get_device_properties(0)
    generator = torch.Generator("cuda").manual_seed(1)
    matrix = torch.rand(2048, 2048, device="cuda", generator=generator, dtype=torch.float64)
    close = torch.allclose((matrix @ matrix).cpu(), matrix.cpu() @ matrix.cpu())
    print(json.dumps({"count": torch.cuda.device_count(), "uuid": str(properties.uuid), "close": close}))
"""
NO_KERNEL = """
    import json, torch
    print(json.dumps({"available": torch.cuda.is_available(), "count": torch.cuda.device_count()}))
"""
GREED = """
    import json, torch
    taken = []
    try:
        while True:
            taken.append(torch.empty(2**28, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        print(json.dumps({"taken": len(taken) * 2**28, "said": str(error)}))
"""
HOLD = """
    import time, torch
    kept = torch.ones(2**30, dtype=torch.uint8, device="cuda")
    print("holding", flush=True)
    time.sleep(120)
"""


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    """This machine's GPUs that are in service."""
    found = ask_in_child().inventory
    if all(device.fault for device in found.devices):
        why = found.note or "; ".join(device.fault for device in found.devices)
        if os.environ.get(REQUESTED) == "1":
            pytest.fail(f"{REQUESTED}=1 asks for a GPU and there is none: {why}")
        pytest.skip(why)
    return found


@pytest.fixture(scope="module")
def engine(inventory: Inventory) -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=TIMEOUT_S)
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    return images.build(["student"], client=engine)["student"]


@pytest.fixture
def seats(inventory: Inventory) -> list[tuple[Device, Lease, Mode]]:
    """Two students' seats: on two devices where there are two, else two shares of the one."""
    well = [device for device in inventory.devices if not device.fault]
    if len(well) > 1:
        modes = [Mode.MIG if device.parent else Mode.EXCLUSIVE for device in well[:2]]
        shares = [Seat("local", device.uuid, 0, device.memory) for device in well[:2]]
        chosen = list(zip(well[:2], shares, modes, strict=True))
    else:
        half = (well[0].memory - GIB) // 2
        chosen = [(well[0], Seat("local", well[0].uuid, slot, half), Mode.SHARED) for slot in (0, 1)]
    return [
        (device, Lease(number, f"s0{number}", State.RESERVED, (seat,), gpu=True), mode)
        for number, (device, seat, mode) in enumerate(chosen, start=1)
    ]


Start = Callable[..., Container]


@pytest.fixture
def start(engine: docker.DockerClient, image: str, settings: Settings) -> Iterator[Start]:
    """Start code in a student's container, hardened and wired as the spawner does it."""
    with ExitStack() as stack:

        def start(code: str, device: Device | None, lease: Lease | None, mode: Mode) -> Container:
            return stack.enter_context(running(code, device, lease, mode))

        @contextmanager
        def running(code: str, device: Device | None, lease: Lease | None, mode: Mode) -> Iterator[Container]:
            wiring = request(lease, mode, capability_of(engine.api), device)
            config: dict[str, Any] = host_config(settings)
            container = engine.containers.create(
                image,
                ["python", "-c", textwrap.dedent(code)],
                environment={**environment(settings, "student"), **(wiring.environment or {})},
                device_requests=[DeviceRequest(**asked) for asked in wiring.device_requests],
                network_mode="none",
                labels={"gpuclass.test": "hardware"},
                **config,
            )
            try:
                container.start()
                yield container
            finally:
                print(container.logs().decode(errors="replace")[-2000:])  # shown when the test fails
                container.remove(force=True)

        yield start


def result(container: Container) -> Any:
    assert container.wait(timeout=TIMEOUT_S)["StatusCode"] == 0
    return json.loads(container.logs(stderr=False).decode().splitlines()[-1])


def test_the_driver_is_new_enough_for_the_images(inventory: Inventory) -> None:
    assert driver_advice(inventory.driver) == ""


def test_two_students_compute_at_once_each_on_the_device_of_their_seat(
    start: Start, seats: list[tuple[Device, Lease, Mode]]
) -> None:
    running = [(start(KERNEL, device, lease, mode), device) for device, lease, mode in seats]
    for container, device in running:
        told = result(container)
        assert told["close"]
        assert told["count"] == 1
        assert device.uuid.endswith(told["uuid"])


def test_a_container_without_a_seat_has_no_gpu(start: Start) -> None:
    assert result(start(NO_KERNEL, None, None, Mode.SHARED)) == {"available": False, "count": 0}


def test_pytorch_keeps_to_its_share(start: Start, inventory: Inventory) -> None:
    device = next(device for device in inventory.devices if not device.fault)
    memory = device.memory // 4
    lease = Lease(1, "s01", State.RESERVED, (Seat("local", device.uuid, 0, memory),), gpu=True)
    told = result(start(GREED, device, lease, Mode.SHARED))
    assert memory // 2 < told["taken"] <= memory


def test_the_driver_tells_whose_process_holds_the_memory(start: Start, seats: list[tuple[Device, Lease, Mode]]) -> None:
    device, lease, mode = seats[0]
    container = start(HOLD, device, lease, mode)
    gpus = Gpus()
    deadline = time.monotonic() + TIMEOUT_S
    while b"holding" not in container.logs():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    held = {
        process.pid: process.memory
        for process in gpus.processes()[device.uuid]
        if (found := holders.look(process.pid)) is not None and container.id in found.cgroups
    }
    assert len(held) == 1
    assert (next(iter(held.values())) or 0) >= GIB
