"""From the driver to the container, through every part but the hub: what NVML says becomes what a student sees."""

import json

import pytest

from gpuclass.gpus.devices import Gpus, read_snapshots, write_snapshot
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Device, Lease, Mode
from gpuclass.gpus.seats import choose, seats_of
from gpuclass.gpus.wiring import capability_of, request
from gpuclass.settings import Settings
from tests.conftest import MakeSettings
from tests.gpus.engines import UUIDS, NestedEngine, look_inside
from tests.gpus.nvml import GIB, NvmlDouble, UnitDouble

pytestmark = pytest.mark.docker

GPU_IS_LOST = 15


class Classroom:
    """A class whose watch and hub are this test: it looks when told to, and lets people in when told to."""

    def __init__(self, settings: Settings, engine: NestedEngine) -> None:
        self.settings = settings
        self.engine = engine
        self.ledger = Ledger(settings.ledger_path)
        self.gpus = Gpus()

    def look(self) -> None:
        write_snapshot(self.settings.gpus_folder, self.gpus.inventory())

    def admit(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """Give seats to those who wait, and say what each of them sees inside."""
        inventories = read_snapshots(self.settings.gpus_folder, self.gpus.inventory().taken_at)
        layout = seats_of(inventories, self.settings.gpu)
        devices = {device.uuid: device for inventory in inventories for device in inventory.devices}
        admitted = {}
        for wish, seats in choose(self.ledger.queue(), layout, self.ledger.live()):
            waiting = self.ledger.lease_of(wish.user)
            assert waiting is not None
            lease = self.ledger.reserve(waiting.id, seats)
            of = sum(seat.device == lease.device for seat in layout)
            admitted[wish.user] = self.start(lease, devices[lease.device], of)
            self.ledger.activate(lease.id, f"container of {wish.user}")
        return admitted

    def start(self, lease: Lease | None, device: Device | None, of: int = 1) -> tuple[list[str], dict[str, str]]:
        capability = capability_of(self.engine.client.api, "nested")
        wiring = request(lease, self.settings.gpu.mode, capability, device, of)
        return look_inside(self.engine, self.settings, wiring)


def test_two_students_get_different_gpus_and_the_third_waits(
    engine: NestedEngine, nvml: NvmlDouble, make_settings: MakeSettings
) -> None:
    nvml.write(*(UnitDouble(uuid, memory=80 * GIB) for uuid in UUIDS[:2]))
    camp = Classroom(make_settings('[gpu]\nmode = "exclusive"'), engine)
    with camp.ledger as ledger:
        camp.look()
        for user in ("s01", "s02", "s03"):
            ledger.enqueue(user, gpu=True)
        admitted = camp.admit()
        assert {user: devices for user, (devices, _) in admitted.items()} == {"s01": ["nvidia0"], "s02": ["nvidia1"]}
        seats = {user: json.loads(variables["GPUCLASS_SEAT"]) for user, (_, variables) in admitted.items()}
        assert {user: seat["uuid"] for user, seat in seats.items()} == {"s01": UUIDS[0], "s02": UUIDS[1]}
        assert camp.admit() == {}

        assert camp.start(None, None)[0] == []  # the third starts on CPU meanwhile

        first = ledger.lease_of("s01")
        assert first is not None
        ledger.end(first.id, "went home")
        assert camp.admit()["s03"][0] == ["nvidia0"]


def test_shares_of_one_gpu_see_that_gpu_and_their_share_of_it(
    engine: NestedEngine, nvml: NvmlDouble, make_settings: MakeSettings
) -> None:
    nvml.write(*(UnitDouble(uuid, memory=81 * GIB) for uuid in UUIDS[:2]))
    camp = Classroom(make_settings('[gpu]\nmode = "shared"\nseats_per_gpu = 2'), engine)
    with camp.ledger as ledger:
        camp.look()
        for number in range(1, 5):
            ledger.enqueue(f"s0{number}", gpu=True)
        admitted = camp.admit()
    assert sorted(devices[0] for devices, _ in admitted.values()) == ["nvidia0", "nvidia0", "nvidia1", "nvidia1"]
    for _, variables in admitted.values():
        told = json.loads(variables["GPUCLASS_SEAT"])
        assert (told["memory"], told["device_memory"], told["of"]) == (40 * GIB, 81 * GIB, 2)
        assert variables["PYTORCH_CUDA_ALLOC_CONF"].startswith("per_process_memory_fraction:0.4")


def test_nobody_gets_a_gpu_that_is_lost(engine: NestedEngine, nvml: NvmlDouble, make_settings: MakeSettings) -> None:
    first, second = (UnitDouble(uuid) for uuid in UUIDS[:2])
    nvml.write(first, second)
    camp = Classroom(make_settings('[gpu]\nmode = "exclusive"'), engine)
    with camp.ledger as ledger:
        camp.look()
        first.lost = GPU_IS_LOST
        nvml.write()
        camp.look()
        for user in ("s01", "s02"):
            ledger.enqueue(user, gpu=True)
        assert {user: devices for user, (devices, _) in camp.admit().items()} == {"s01": ["nvidia1"]}


def test_a_mig_instance_is_a_device_of_its_own(
    engine: NestedEngine, nvml: NvmlDouble, make_settings: MakeSettings
) -> None:
    instance = UnitDouble(UUIDS[2], name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", memory=10 * GIB, instance=True)
    nvml.write(UnitDouble(UUIDS[0], mig=1), instance)
    camp = Classroom(make_settings('[gpu]\nmode = "mig"'), engine)
    with camp.ledger as ledger:
        camp.look()
        ledger.enqueue("s01", gpu=True)
        devices, variables = camp.admit()["s01"]
    assert devices == ["nvidia2"]
    assert json.loads(variables["GPUCLASS_SEAT"])["memory"] == 10 * GIB
    assert json.loads(variables["GPUCLASS_SEAT"])["mode"] == Mode.MIG
