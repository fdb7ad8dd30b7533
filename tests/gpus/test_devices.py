"""What a machine has, asked of a driver that is not there: the C library nvml_double.c stands in for it."""

import os
from pathlib import Path

import pynvml
import pytest

from gpuclass.gpus.devices import (
    APPLICATION_XIDS,
    FaultsFile,
    GpuProcess,
    Gpus,
    Load,
    ask_in_child,
    driver_advice,
    faults_file,
    read_snapshots,
    write_snapshot,
)
from gpuclass.gpus.model import Device, Inventory
from tests.gpus.nvml import GIB, NvmlDouble, UnitDouble

NOT_SUPPORTED, UNKNOWN = 3, 999
LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED, GPU_IS_LOST, VERSION_MISMATCH, RESET_REQUIRED = 12, 9, 15, 18, 16


@pytest.fixture
def gpus() -> Gpus:
    return Gpus(now=lambda: 1000.0)


def test_every_gpu_is_listed_with_its_uuid_name_and_memory(nvml: NvmlDouble, gpus: Gpus) -> None:
    nvml.write(UnitDouble("GPU-a"), UnitDouble("GPU-b", name="NVIDIA A100-SXM4-40GB", memory=40 * GIB))
    assert gpus.inventory() == Inventory(
        engine="local",
        taken_at=1000.0,
        driver="580.95.05",
        devices=(
            Device("local", "GPU-a", "NVIDIA H100 80GB HBM3", "0", 80 * GIB),
            Device("local", "GPU-b", "NVIDIA A100-SXM4-40GB", "1", 40 * GIB),
        ),
    )


def test_instances_stand_for_their_gpu_with_their_real_memory(nvml: NvmlDouble, gpus: Gpus) -> None:
    cut = [
        UnitDouble(f"MIG-{i}", name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", memory=size, instance=True)
        for i, size in enumerate((9 * GIB, 10 * GIB))
    ]
    nvml.write(UnitDouble("GPU-a", mig=1), *cut, UnitDouble("GPU-b"))
    first, second, whole = gpus.inventory().devices
    assert (first.uuid, first.index, first.parent, first.profile, first.memory) == (
        "MIG-0",
        "0:0",
        "GPU-a",
        "1g.10gb",
        9 * GIB,
    )
    assert (second.uuid, second.index, second.memory) == ("MIG-1", "0:1", 10 * GIB)
    assert (whole.uuid, whole.index, whole.parent, whole.profile) == ("GPU-b", "1", "", "")


def test_a_gpu_with_mig_on_and_nothing_cut_is_out_of_service(nvml: NvmlDouble, gpus: Gpus) -> None:
    nvml.write(UnitDouble("GPU-a", mig=1))
    (device,) = gpus.inventory().devices
    assert device.uuid == "GPU-a"
    assert "nvidia-smi mig -cgi" in device.fault


@pytest.mark.parametrize(
    ("code", "advice"), [(DRIVER_NOT_LOADED, "modprobe nvidia"), (VERSION_MISMATCH, "until a reboot"), (999, "dmesg")]
)
def test_a_driver_that_cannot_be_asked_is_an_answer(nvml: NvmlDouble, gpus: Gpus, code: int, advice: str) -> None:
    nvml.init = code
    nvml.write(UnitDouble("GPU-a"))
    inventory = gpus.inventory()
    assert inventory.devices == ()
    assert advice in inventory.note
    assert gpus.processes() == {}
    assert gpus.loads() == []


def test_a_machine_without_the_library_has_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there() -> None:
        raise pynvml.NVMLError(LIBRARY_NOT_FOUND)

    monkeypatch.setattr("pynvml.nvmlInit", not_there)
    assert "No NVIDIA driver is installed" in Gpus().inventory().note


def test_a_driver_without_a_gpu_is_an_answer(nvml: NvmlDouble, gpus: Gpus) -> None:
    inventory = gpus.inventory()
    assert (inventory.driver, inventory.devices) == ("580.95.05", ())
    assert "finds no GPU" in inventory.note


def test_a_driver_that_comes_later_is_seen(nvml: NvmlDouble, gpus: Gpus) -> None:
    nvml.init = DRIVER_NOT_LOADED
    nvml.write(UnitDouble("GPU-a"))
    assert gpus.inventory().note
    nvml.init = 0
    nvml.write()
    assert [device.uuid for device in gpus.inventory().devices] == ["GPU-a"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"lost": GPU_IS_LOST}, "lost"),
        ({"lost": RESET_REQUIRED}, "reset"),
        ({"remap": (0, 1)}, "replaced"),
        ({"retired": 1}, "reboot"),
    ],
)
def test_a_sick_gpu_keeps_its_name_and_leaves_service(
    nvml: NvmlDouble, gpus: Gpus, change: dict[str, int], why: str
) -> None:
    nvml.write(UnitDouble("GPU-a"), UnitDouble("GPU-b"))
    gpus.inventory()
    nvml.write(UnitDouble("GPU-a"), UnitDouble("GPU-b", **change))  # type: ignore[arg-type]  # a table of several types
    well, sick = gpus.inventory().devices
    assert (well.uuid, well.fault) == ("GPU-a", "")
    assert (sick.uuid, sick.memory) == ("GPU-b", 80 * GIB)
    assert why in sick.fault


@pytest.mark.parametrize("code", [NOT_SUPPORTED, UNKNOWN])
def test_a_driver_that_says_nothing_about_health_keeps_no_gpu_out(nvml: NvmlDouble, gpus: Gpus, code: int) -> None:
    nvml.write(UnitDouble("GPU-a", odd=code, retired=1, ecc=1, remap=(1, 1)))
    assert gpus.inventory().devices[0].fault == ""


@pytest.mark.parametrize("remaps", [True, False])
def test_an_error_in_memory_counts_where_the_gpu_cannot_deal_with_it(
    nvml: NvmlDouble, gpus: Gpus, monkeypatch: pytest.MonkeyPatch, remaps: bool
) -> None:
    def not_supported(_: object) -> None:
        raise pynvml.NVMLError(NOT_SUPPORTED)

    if not remaps:
        monkeypatch.setattr(pynvml, "nvmlDeviceGetRemappedRows", not_supported)
    nvml.write(UnitDouble("GPU-a", ecc=2))
    assert bool(gpus.inventory().devices[0].fault) is not remaps


def test_an_xid_of_a_gpu_takes_its_instances_out(nvml: NvmlDouble, gpus: Gpus) -> None:
    instance = UnitDouble("MIG-0", name="NVIDIA H100 MIG 1g.10gb", instance=True)
    gpu = UnitDouble("GPU-a", mig=1)
    nvml.write(gpu, instance)
    assert gpus.inventory().devices[0].fault == ""
    gpu.xids.append(79)
    nvml.write()
    (device,) = gpus.inventory().devices
    assert device.uuid == "MIG-0"
    assert "Xid 79" in device.fault


def test_a_row_that_waits_to_be_remapped_leaves_the_gpu_in_service(nvml: NvmlDouble, gpus: Gpus) -> None:
    nvml.write(UnitDouble("GPU-a", remap=(1, 0), ecc=2))
    assert gpus.inventory().devices[0].fault == ""


def test_a_gpu_that_was_lost_before_anybody_looked_has_no_name(nvml: NvmlDouble, gpus: Gpus) -> None:
    nvml.write(UnitDouble("GPU-a", lost=GPU_IS_LOST), UnitDouble("GPU-b"))
    devices = {device.uuid: device.fault for device in gpus.inventory().devices}
    assert devices["GPU-b"] == ""
    assert "lost" in devices["unknown-0"]


def test_a_gpu_that_is_listed_no_more_stays_with_a_fault_until_it_is_back(nvml: NvmlDouble, gpus: Gpus) -> None:
    both = (UnitDouble("GPU-a"), UnitDouble("GPU-b"))
    nvml.write(*both)
    gpus.inventory()
    nvml.write(both[1])
    faults = {device.uuid: device.fault for device in gpus.inventory().devices}
    assert faults["GPU-b"] == ""
    assert "fell off the bus" in faults["GPU-a"]
    nvml.write(*both)
    assert [device.fault for device in gpus.inventory().devices] == ["", ""]


def test_the_instances_of_a_lost_gpu_are_lost(nvml: NvmlDouble, gpus: Gpus) -> None:
    instance = UnitDouble("MIG-0", name="NVIDIA H100 MIG 7g.80gb", instance=True)
    nvml.write(UnitDouble("GPU-a", mig=1), instance)
    gpus.inventory()
    nvml.write(UnitDouble("GPU-a", mig=1, lost=GPU_IS_LOST), instance)
    (device,) = gpus.inventory().devices
    assert device.uuid == "MIG-0"
    assert "lost" in device.fault


def test_an_xid_of_the_hardware_takes_the_gpu_out_until_it_is_put_back(nvml: NvmlDouble, tmp_path: Path) -> None:
    faults = FaultsFile(tmp_path / "faults.json", boot="this")
    gpus = Gpus(faults=faults)
    nvml.write(UnitDouble("GPU-a"), UnitDouble("GPU-b"))
    assert [device.fault for device in gpus.inventory().devices] == ["", ""]
    nvml.write(UnitDouble("GPU-a"), UnitDouble("GPU-b", xids=[48]))
    assert [bool(device.fault) for device in gpus.inventory().devices] == [False, True]
    assert "Xid 48" in gpus.inventory().devices[1].fault

    restarted = Gpus(faults=FaultsFile(tmp_path / "faults.json", boot="this"))
    assert "Xid 48" in restarted.inventory().devices[1].fault

    assert faults.put_in_service("GPU-b")
    assert not faults.put_in_service("GPU-b")
    assert [device.fault for device in restarted.inventory().devices] == ["", ""]


def test_a_reboot_forgets_faults(tmp_path: Path) -> None:
    FaultsFile(tmp_path / "faults.json", boot="this").add("GPU-a", "Xid 48")
    assert FaultsFile(tmp_path / "faults.json", boot="this").read() == {"GPU-a": "Xid 48"}
    assert FaultsFile(tmp_path / "faults.json", boot="next").read() == {}


@pytest.mark.parametrize("xid", sorted(APPLICATION_XIDS))
def test_a_students_bug_leaves_the_gpu_in_service(nvml: NvmlDouble, gpus: Gpus, xid: int) -> None:
    nvml.write(UnitDouble("GPU-a"))
    gpus.inventory()
    nvml.write(UnitDouble("GPU-a", xids=[xid]))
    assert gpus.inventory().devices[0].fault == ""


def test_processes_and_loads_come_by_device(nvml: NvmlDouble, gpus: Gpus) -> None:
    instance = UnitDouble("MIG-0", instance=True, used=3 * GIB, processes={12: -1})
    nvml.write(
        UnitDouble("GPU-a", used=5 * GIB, util=40, processes={10: 2 * GIB, 11: 3 * GIB}, computes={10: 0, 11: 93}),
        UnitDouble("GPU-b", mig=1),
        instance,
        UnitDouble("GPU-c", lost=GPU_IS_LOST),
    )
    assert gpus.processes() == {
        "GPU-a": (GpuProcess("GPU-a", 10, 2 * GIB, working=False), GpuProcess("GPU-a", 11, 3 * GIB, working=True)),
        "MIG-0": (GpuProcess("MIG-0", 12, None, working=None),),
    }
    assert gpus.loads() == [Load("GPU-a", 5 * GIB, 40), Load("MIG-0", 3 * GIB, None)]


def test_a_device_that_does_not_tell_its_processes_is_not_one_without_any(nvml: NvmlDouble, gpus: Gpus) -> None:
    nvml.write(UnitDouble("GPU-a", silent=4, processes={10: GIB}), UnitDouble("GPU-b"))
    assert gpus.processes() == {"GPU-b": ()}


INVENTORY = Inventory("local", 1000.0, (Device("local", "GPU-a", "H100", "0", 80 * GIB, fault="lost"),), "580.1")


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    other = Inventory("other", 1001.0, note="No driver")
    for inventory in (INVENTORY, other):
        write_snapshot(tmp_path / "gpus", inventory)
    assert read_snapshots(tmp_path / "gpus", 1002.0, 30) == [INVENTORY, other]
    assert sorted(path.name for path in (tmp_path / "gpus").iterdir()) == ["local.json", "other.json"]


@pytest.mark.parametrize("now", [1031.0, 960.0])
def test_a_snapshot_of_another_time_is_unknown(tmp_path: Path, now: float) -> None:
    write_snapshot(tmp_path, INVENTORY)
    assert read_snapshots(tmp_path, now, 30) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"devices": []}', '{"devices": [{"uuid": 1}], "engine": "local"}'])
def test_a_broken_snapshot_is_unknown(tmp_path: Path, content: str) -> None:
    write_snapshot(tmp_path, INVENTORY)
    (tmp_path / "local.json").write_text(content, encoding="utf-8")
    assert read_snapshots(tmp_path, 1000.0, 30) == []


def test_other_files_of_the_folder_are_no_snapshots(tmp_path: Path) -> None:
    faults_file(tmp_path).add("GPU-a", "Xid 79")
    (tmp_path / "local.usage.json").write_text('{"at": 1000}', encoding="utf-8")
    write_snapshot(tmp_path, INVENTORY)
    assert read_snapshots(tmp_path, 1000.0, 30) == [INVENTORY]
    assert read_snapshots(tmp_path / "missing", 1000.0, 30) == []


def test_another_process_sees_the_same(nvml: NvmlDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in nvml.environment.items():
        monkeypatch.setenv(name, value)
    nvml.write(UnitDouble("GPU-a", used=GIB, util=7), UnitDouble("GPU-b", compute=3))
    answer = ask_in_child(now=lambda: 0.0)
    assert [device.uuid for device in answer.inventory.devices] == ["GPU-a", "GPU-b"]
    assert answer.loads[0] == Load("GPU-a", GIB, 7)
    assert answer.exclusive == {"GPU-b"}


def test_a_driver_that_hangs_is_given_up(nvml: NvmlDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = nvml.path.with_name("hangs")
    os.mkfifo(fifo)  # opening it for reading waits for a writer who never comes
    monkeypatch.setenv("GPUCLASS_NVML_DOUBLE", str(fifo))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml.library.parent))
    answer = ask_in_child(timeout_s=1.5)
    assert "does not answer within" in answer.inventory.note
    assert (answer.inventory.devices, answer.loads) == ((), ())


@pytest.mark.parametrize(("driver", "said"), [("580.95.05", False), ("610.1", False), ("575.57.08", True), ("", False)])
def test_a_driver_too_old_for_the_wheels_is_told(driver: str, said: bool) -> None:
    assert ("too old" in driver_advice(driver)) is said


def test_the_wheels_are_those_that_the_advice_is_about(pytestconfig: pytest.Config) -> None:
    locked = (pytestconfig.rootpath / "images/student/requirements.txt").read_text(encoding="utf-8")
    assert "nvidia-cuda-runtime==13." in locked
