"""What `gpuclass gpus` shows, on machines whose GPUs are not there."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gpuclass.cli import app
from gpuclass.gpus.devices import Load, faults_file, write_snapshot
from gpuclass.gpus.guarantees import GUARANTEES
from gpuclass.gpus.labels import SeatLabels
from gpuclass.gpus.ledger import Ledger
from gpuclass.gpus.model import Device, Inventory, Lease, Mode, Request, Seat, State
from gpuclass.gpus.overview import Overview, SeatRow, overview
from gpuclass.settings import GpuSection, Settings
from gpuclass.watch.usage import DeviceUse, SeatUse, Usage, write_usage
from tests.conftest import MakeSettings
from tests.gpus.nvml import GIB, NvmlDouble, UnitDouble

A, B = (Device("local", f"GPU-{x}", "H100", str(n), 81 * GIB) for n, x in enumerate("ab"))
SHARED = GpuSection.model_validate({"mode": "shared", "seats_per_gpu": 4})


def show(*devices: Device, gpu: GpuSection = SHARED, driver: str = "580.1", **more: Any) -> Overview:
    return overview([Inventory("local", 1000.0, devices, driver)], gpu, source="watch", **more)


def test_holders_stand_at_their_seats_and_the_rest_is_free() -> None:
    seats = tuple(Seat("local", "GPU-a", slot, 20 * GIB) for slot in (1, 2))
    lease = Lease(5, "s01", State.ACTIVE, seats, gpu=True, container="c0ffee")
    use = SeatUse("c0ffee", "s01", 5, "GPU-a", 40 * GIB, 41 * GIB, 2, 0.0, "warned")
    usage = Usage("local", 1000.0, (use,), (DeviceUse("GPU-a", 81 * GIB, 50 * GIB, 0, 90),))
    found = show(A, B, leases=[lease], usages=[usage])
    first, second = found.devices
    assert (first.used, first.percent) == (50 * GIB, 90)
    assert first.seats == (
        SeatRow((0,), 20 * GIB),
        SeatRow((1, 2), 40 * GIB, "s01", "active", 41 * GIB, "warned"),
        SeatRow((3,), 20 * GIB),
    )
    assert [seat.user for seat in second.seats] == [""] * 4
    assert found.seats_free == 6


def test_another_classes_seat_is_not_free() -> None:
    other = SeatLabels("other", "x9", 1, "local", "GPU-a", (0,), 20 * GIB, Mode.SHARED)
    found = show(A, others=[other])
    assert found.devices[0].seats[0].user == "x9 of class other"
    assert found.seats_free == 3


def test_without_a_watch_the_drivers_word_is_shown() -> None:
    found = show(A, loads=[Load("GPU-a", 7 * GIB, None)])
    assert (found.devices[0].used, found.devices[0].percent) == (7 * GIB, None)


def test_the_queue_is_counted_by_what_people_wait_for() -> None:
    queue = [Request("s01", gpu=True), Request("s02", gpu=True), Request("s03", gpu=False)]
    found = show(A, queue=queue)
    assert (found.waiting_for_gpu, found.waiting_to_start) == (2, 1)


@pytest.mark.parametrize(
    ("mode", "who"),
    [("exclusive", "hardware"), ("mig", "hardware"), ("shared", "watchdog"), ("mps", "driver"), ("off", "")],
)
def test_who_holds_the_limit_is_said(mode: str, who: str) -> None:
    found = show(A, gpu=GpuSection.model_validate({"mode": mode}))
    assert found.enforcement == who
    assert bool(found.guarantee) is (mode != "off")


@pytest.mark.parametrize(
    ("devices", "more", "problem"),
    [
        ((A,), {"driver": "570.86"}, "Driver 570.86 is too old"),
        ((Device("local", "GPU-x", "H100", "0", GIB, fault="lost"),), {}, "GPU 0 (GPU-x): lost"),
        ((A,), {"gpu": GpuSection.model_validate({"mode": "mig"})}, "MIG is off"),
        ((A,), {"gpu": GpuSection.model_validate({"mode": "shared", "devices": ["GPU-z"]})}, "names 'GPU-z'"),
        (
            (Device("local", "MIG-a", "H100", "0:0", GIB, parent="GPU-x"),),
            {"gpu": GpuSection.model_validate({"mode": "mig", "seats": {"instructor": 2}})},
            "instructor = 2: no device has such a seat",
        ),
        ((A,), {"usages": [Usage("local", 0.0, problems=("Docker is slow",))]}, "Docker is slow"),
    ],
)
def test_what_is_wrong_is_said(devices: tuple[Device, ...], more: dict[str, Any], problem: str) -> None:
    assert problem in "\n".join(show(*devices, **more).problems)


def test_held_seats_without_a_watch_are_a_problem() -> None:
    lease = Lease(5, "s01", State.ACTIVE, (Seat("local", "GPU-a", 0, 20 * GIB),), gpu=True)
    inventories = [Inventory("local", 1000.0, (A,), "580.1")]
    assert "no watch runs" in "\n".join(overview(inventories, SHARED, source="driver", leases=[lease]).problems)
    assert overview(inventories, SHARED, source="driver").problems == ()
    assert overview(inventories, SHARED, source="watch", leases=[lease]).problems == ()


def test_devices_stand_in_the_order_of_their_numbers() -> None:
    numbers = ["10", "2", "0:1", "0:0"]
    found = show(*(Device("local", f"GPU-{number}", "H100", number, GIB) for number in numbers))
    assert [device.index for device in found.devices] == ["0:0", "0:1", "2", "10"]


def test_an_image_of_the_classs_own_may_have_a_torch_for_an_older_driver() -> None:
    assert show(A, driver="570.86", own_image=True).problems == ()


def test_nothing_is_wrong_where_nothing_is() -> None:
    assert show(A, B).problems == ()


def test_the_docs_promise_what_the_command_line_promises(pytestconfig: pytest.Config) -> None:
    page = (pytestconfig.rootpath / "docs/explanation/gpu-modes.md").read_text(encoding="utf-8")
    flowing = " ".join(page.split())
    assert GUARANTEES.keys() == set(Mode) - {Mode.OFF}
    for guarantee in GUARANTEES.values():
        for sentence in (guarantee.memory, guarantee.faults, guarantee.time, guarantee.data):
            assert sentence in flowing


# The command


Gpus = Callable[..., Result]


@pytest.fixture
def run(nvml: NvmlDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gpus:
    """`gpuclass gpus`, the driver being the double; no engine answers."""
    for name, value in nvml.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gpuclass.engine.SOCKET", tmp_path / "no-engine.sock")

    def gpus(settings: Settings | None, *arguments: str) -> Result:
        monkeypatch.setenv("GPUCLASS_CONFIG", str(settings.path if settings else tmp_path / "none" / "class.toml"))
        monkeypatch.setenv("COLUMNS", "120")
        return CliRunner().invoke(app, ["gpus", *arguments])

    return gpus


def test_a_fresh_server_without_a_class_shows_its_gpus(run: Gpus, nvml: NvmlDouble) -> None:
    nvml.write(UnitDouble("GPU-a", used=3 * GIB, util=7))
    result = run(None)
    assert result.exit_code == 0, result.output
    for part in ("GPU-a", "NVIDIA H100 80GB HBM3", "3G of 80G", "7 %", "driver 580.95.05", "mode off"):
        assert part in result.output


def test_a_machine_without_a_driver_says_so_and_is_not_ready_for_a_class_with_gpus(
    run: Gpus, nvml: NvmlDouble, make_settings: MakeSettings
) -> None:
    nvml.init = 9
    nvml.write()
    result = run(make_settings('[gpu]\nmode = "exclusive"'))
    assert result.exit_code == 1
    assert "installed but not loaded" in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_the_watchs_word_holders_and_guarantee_are_shown(
    run: Gpus, nvml: NvmlDouble, make_settings: MakeSettings
) -> None:
    settings = make_settings('[gpu]\nmode = "shared"\nseats_per_gpu = 2')
    now = time.time()
    write_snapshot(settings.gpus_folder, Inventory("local", now, (A,), "580.1"))
    with Ledger(settings.ledger_path) as ledger:
        seat = Seat("local", "GPU-a", 0, 40 * GIB)
        ledger.adopt("s01", [seat], "c0ffee")
        ledger.enqueue("s02", gpu=True)
    use = SeatUse("c0ffee", "s01", 1, "GPU-a", 40 * GIB, 12 * GIB, 1, now)
    write_usage(settings.gpus_folder, Usage("local", now, (use,), (DeviceUse("GPU-a", 81 * GIB, 13 * GIB, 0, 50),)))
    result = run(settings)
    for part in ("s01", "12G of 40G", "1 of 2 seats free", "waiting for a seat: 1", "watchdog", "as the watch saw it"):
        assert part in result.output
    assert GUARANTEES[Mode.SHARED].time in result.output
    assert "Docker does not answer" in result.output

    told = json.loads(run(settings, "--json").stdout)
    assert told["seats_free"] == 1
    assert told["devices"][0]["seats"][0]["user"] == "s01"


def test_an_old_snapshot_is_not_believed(run: Gpus, nvml: NvmlDouble, make_settings: MakeSettings) -> None:
    settings = make_settings('[gpu]\nmode = "exclusive"')
    write_snapshot(settings.gpus_folder, Inventory("local", time.time() - 60, (A, B), "580.1"))
    nvml.write(UnitDouble("GPU-c"))
    told = json.loads(run(settings, "--json").stdout)
    assert [device["uuid"] for device in told["devices"]] == ["GPU-c"]
    assert told["source"] == "driver"


def test_a_repaired_gpu_is_put_back_by_hand(run: Gpus, nvml: NvmlDouble, make_settings: MakeSettings) -> None:
    settings = make_settings('[gpu]\nmode = "exclusive"')
    faults_file(settings.gpus_folder).add("GPU-a", "Xid 79")
    nvml.write(UnitDouble("GPU-a"))
    done = run(settings, "--in-service", "GPU-a")
    assert (done.exit_code, "in service again" in done.output) == (0, True)
    assert faults_file(settings.gpus_folder).read() == {}
    again = run(settings, "--in-service", "GPU-a")
    assert (again.exit_code, "no Xid has taken it" in again.output) == (1, True)
