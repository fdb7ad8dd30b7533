"""What Docker is asked for, mode by mode and engine by engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpuclass.gpus.model import Device, Lease, Mode, Seat, State
from gpuclass.gpus.wiring import (
    Capability,
    Way,
    Wiring,
    WiringError,
    capability,
    explain,
    fraction,
    mps_problems,
    request,
    specified,
    toolkit_problem,
)

GIB = 2**30
DEVICE = Device("local", "GPU-a", "NVIDIA H100 80GB HBM3", "0", 80 * GIB)
CDI = Capability(Way.CDI, "Docker 26.1.5", frozenset({"GPU-a", "GPU-b"}))
OLD = Capability(Way.NVIDIA, "Docker 20.10")


def lease(memory: int = 20 * GIB, shares: int = 1) -> Lease:
    seats = tuple(Seat("local", "GPU-a", slot, memory) for slot in range(shares))
    return Lease(7, "s01", State.RESERVED, seats, gpu=True)


def told(wiring: Wiring) -> Any:
    assert wiring.environment is not None
    return json.loads(wiring.environment["GPUCLASS_SEAT"])


@pytest.mark.parametrize("nothing", [None, Lease(7, "s01", State.RESERVED)])
@pytest.mark.parametrize("engine", [CDI, OLD])
def test_without_a_seat_an_image_that_says_all_gets_no_gpu(nothing: Lease | None, engine: Capability) -> None:
    assert request(nothing, Mode.SHARED, engine) == Wiring(
        environment={"NVIDIA_VISIBLE_DEVICES": "void", "GPUCLASS_SEAT": '{"gpu": false}'}
    )


def test_with_cdi_the_device_is_named_and_nothing_else_is_asked() -> None:
    wiring = request(lease(80 * GIB), Mode.EXCLUSIVE, CDI, DEVICE)
    assert wiring.device_requests == ({"driver": "cdi", "device_ids": ["nvidia.com/gpu=GPU-a"]},)
    assert wiring.mounts == ()
    assert wiring.environment is not None
    assert wiring.environment.keys() == {"GPUCLASS_SEAT", "NVIDIA_VISIBLE_DEVICES"}
    assert wiring.environment["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_an_older_engine_is_asked_through_its_nvidia_driver() -> None:
    wiring = request(lease(80 * GIB), Mode.EXCLUSIVE, OLD, DEVICE)
    assert wiring.device_requests == (
        {"driver": "nvidia", "device_ids": ["GPU-a"], "capabilities": [["gpu", "compute", "utility"]]},
    )
    assert wiring.environment is not None
    assert wiring.environment["NVIDIA_VISIBLE_DEVICES"] == "GPU-a"


@pytest.mark.parametrize("engine", [CDI, OLD])
@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.OFF])
def test_devices_are_never_counted(mode: Mode, engine: Capability) -> None:
    (asked,) = request(lease(), mode, engine, DEVICE).device_requests
    assert "count" not in asked
    assert len(asked["device_ids"]) == 1


def test_the_container_is_told_about_its_seat() -> None:
    assert told(request(lease(20 * GIB, shares=2), Mode.SHARED, CDI, DEVICE, of=4)) == {
        "gpu": True,
        "device": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-a",
        "memory": 40 * GIB,
        "device_memory": 80 * GIB,
        "mode": "shared",
        "enforcement": "watchdog",
        "shares": 2,
        "of": 4,
    }


@pytest.mark.parametrize(
    ("mode", "who"),
    [(Mode.EXCLUSIVE, "hardware"), (Mode.MIG, "hardware"), (Mode.MPS, "driver"), (Mode.SHARED, "watchdog")],
)
def test_who_holds_the_limit_is_told_as_it_is(mode: Mode, who: str) -> None:
    assert told(request(lease(), mode, CDI, DEVICE))["enforcement"] == who


def test_in_shared_pytorch_is_asked_to_keep_to_the_share() -> None:
    environment = request(lease(20 * GIB, shares=2), Mode.SHARED, CDI, DEVICE).environment
    assert environment is not None
    assert environment["PYTORCH_CUDA_ALLOC_CONF"] == "per_process_memory_fraction:0.4937"
    for mode in (Mode.EXCLUSIVE, Mode.MIG, Mode.MPS):
        assert "PYTORCH_CUDA_ALLOC_CONF" not in (request(lease(), mode, CDI, DEVICE).environment or {})


@pytest.mark.parametrize("seats", range(1, 49))
def test_the_shares_of_a_device_never_exceed_it(seats: int) -> None:
    memory = (80 * GIB - GIB) // seats
    assert 0 < float(fraction(memory, 80 * GIB)) * seats <= 1


def test_in_mps_the_container_reaches_its_own_gpus_daemon_and_the_driver_has_the_limit() -> None:
    wiring = request(lease(20 * GIB), Mode.MPS, CDI, DEVICE)
    assert wiring.environment is not None
    assert wiring.environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=20480M"
    assert wiring.environment["CUDA_MPS_PIPE_DIRECTORY"] == "/run/nvidia-mps"
    assert [(mount["source"], mount["target"]) for mount in wiring.mounts] == [
        ("/run/gpuclass-mps/GPU-a/pipe", "/run/nvidia-mps"),
        ("/run/gpuclass-mps/GPU-a/shm", "/dev/shm"),
    ]


def test_a_device_that_the_specification_does_not_name_fails_plainly() -> None:
    with pytest.raises(WiringError, match=r"does not know GPU-a .* `nvidia-ctk cdi generate"):
        request(lease(), Mode.EXCLUSIVE, Capability(Way.CDI, "", frozenset({"GPU-z"})), DEVICE)


def test_a_lease_is_never_wired_to_another_device() -> None:
    with pytest.raises(ValueError, match="GPU-a"):
        request(lease(), Mode.EXCLUSIVE, CDI, Device("local", "GPU-b", "H100", "1", 80 * GIB))


@pytest.mark.parametrize(
    ("info", "names", "way"),
    [
        ({"ServerVersion": "20.10.24"}, None, Way.NVIDIA),
        ({"ServerVersion": "26.1.5", "CDISpecDirs": []}, None, Way.NVIDIA),
        ({"ServerVersion": "26.1.5", "CDISpecDirs": ["/etc/cdi"]}, ["GPU-a"], Way.CDI),
        ({"ServerVersion": "26.1.5", "CDISpecDirs": ["/etc/cdi"]}, None, Way.CDI),
        ({"ServerVersion": "26.1.5", "CDISpecDirs": ["/etc/cdi"]}, [], Way.NVIDIA),
        (
            {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=MIG-1"}]},
            None,
            Way.CDI,
        ),
        (
            {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]},
            None,
            Way.NVIDIA,
        ),
        ({"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"ID": "other.com/net=GPU-x"}]}, None, Way.NVIDIA),
    ],
)
def test_cdi_is_used_where_the_engine_can(info: dict[str, Any], names: list[str] | None, way: Way) -> None:
    assert capability(info, names).way is way


def test_specifications_are_read_in_both_of_their_forms(tmp_path: Path) -> None:
    uuid = "GPU-5d3a2c1b-0000-1111-2222-333344445555"
    (tmp_path / "a.yaml").write_text(
        f'---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: "0"\n- name: {uuid}\n- name: all\n', "utf-8"
    )
    (tmp_path / "b.json").write_text('{"kind": "nvidia.com/gpu", "devices": [{"name": "MIG-7"}]}', "utf-8")
    (tmp_path / "c.yaml").write_text("kind: other.com/gpu\ndevices:\n- name: GPU-other\n", "utf-8")
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe")
    assert specified([tmp_path, tmp_path / "missing"]) == [uuid, "MIG-7"]


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ("CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-x", "nvidia-ctk cdi generate"),
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "install nvidia-container-toolkit"),
        ("nvidia-container-cli: device error: GPU-x: unknown device: unknown", "does not know the seat's device"),
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "nvidia-smi"),
        (
            'invalid mount config for type "bind": bind source path does not exist: /run/gpuclass-mps/GPU-a/pipe")',
            "no MPS daemon for the seat's GPU (/run/gpuclass-mps/GPU-a/pipe is missing)",
        ),
        ('bind source path does not exist: /srv/data/homes/s01")', ""),
        ("no space left on device", ""),
        ("Conflict. The container name is already in use", ""),
    ],
)
def test_a_refusal_about_gpus_is_put_in_words(refusal: str, advice: str) -> None:
    assert advice in explain(refusal)
    assert bool(explain(refusal)) is bool(advice)


def test_mps_needs_a_daemon_and_a_gpu_that_nobody_reaches_without_it(tmp_path: Path) -> None:
    for uuid in ("GPU-a", "GPU-b"):
        (tmp_path / uuid / "pipe").mkdir(parents=True)
        (tmp_path / uuid / "pipe" / "nvidia-cuda-mps-control.pid").touch()
    problems = mps_problems(["GPU-a", "GPU-b", "GPU-c"], {"GPU-a"}, tmp_path)
    assert [problem.split()[0] for problem in problems] == ["GPU-b", "GPU-c"]
    assert "EXCLUSIVE_PROCESS" in problems[0]
    assert "gpuclass-mps@GPU-c" in problems[1]


def test_an_older_engine_needs_nvidias_hook() -> None:
    assert "nvidia-container-toolkit" in toolkit_problem(OLD, has_hook=False)
    assert toolkit_problem(OLD, has_hook=True) == ""
    assert toolkit_problem(CDI, has_hook=False) == ""
