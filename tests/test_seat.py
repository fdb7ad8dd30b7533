"""The card of a seat, the container's limits, and what Lab is told; from files, without a container."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuclass import cgroup
from gpuclass.gpus import wiring
from gpuclass.gpus.model import Device, Enforcement, Lease, Mode, Seat, State
from gpuclass.kernel import interruptions, killed_since_last_start
from gpuclass.noticeboard import KILLED, MESSAGE_LIMIT, NoticeBoard
from gpuclass.seat import FRESH_S, WORDS, gpu_memory_used, read
from gpuclass.watch import notices
from gpuclass.watch.notices import Board, Memory

GIB = 2**30
SEAT = {
    "gpu": True,
    "device": "NVIDIA H100 80GB HBM3",
    "uuid": "GPU-1",
    "memory": 19 * GIB,
    "device_memory": 80 * GIB,
    "mode": "shared",
    "enforcement": "watchdog",
    "shares": 1,
    "of": 4,
}
MACHINE = 64 * GIB


def v2(root: Path, *, limit: str = str(4 * GIB), kills: int = 0, quota: str = "200000 100000") -> Path:
    root.mkdir(exist_ok=True)
    (root / "memory.current").write_text(f"{3 * GIB}\n")
    (root / "memory.max").write_text(f"{limit}\n")
    (root / "memory.stat").write_text(f"anon {GIB}\ninactive_file {GIB}\n")
    (root / "memory.events").write_text(f"low 0\nhigh 0\nmax 9\noom {kills}\noom_kill {kills}\noom_group_kill 0\n")
    (root / "cpu.max").write_text(f"{quota}\n")
    return root


def v1(root: Path, *, limit: int = 4 * GIB, kills: int = 0, quota: str = "150000") -> Path:
    for folder in ("memory", "cpu"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "memory" / "memory.usage_in_bytes").write_text(f"{3 * GIB}\n")
    (root / "memory" / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (root / "memory" / "memory.stat").write_text(f"cache {GIB}\ninactive_file 7\ntotal_inactive_file {GIB}\n")
    (root / "memory" / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")
    (root / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (root / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    return root


@pytest.mark.parametrize("version", [v1, v2])
def test_both_versions_of_control_groups_are_read(version: Any, tmp_path: Path) -> None:
    assert cgroup.memory(version(tmp_path, kills=2), MACHINE) == cgroup.Memory(2 * GIB, 4 * GIB, 2)


def test_a_container_without_a_limit_has_the_machines_memory(tmp_path: Path) -> None:
    unlimited = [cgroup.memory(v1(tmp_path / "1", limit=2**63 - 4096), MACHINE)]
    unlimited.append(cgroup.memory(v2(tmp_path / "2", limit="max"), MACHINE))
    assert [memory.limit for memory in unlimited if memory] == [MACHINE, MACHINE]
    assert cgroup.memory(tmp_path / "3", MACHINE) is None


def test_cores_come_from_the_quota(tmp_path: Path) -> None:
    assert cgroup.cpus(v1(tmp_path / "1")) == 1.5
    assert cgroup.cpus(v2(tmp_path / "2")) == 2
    machine = cgroup.cpus(tmp_path / "3")
    assert cgroup.cpus(v1(tmp_path / "4", quota="-1")) == machine
    assert cgroup.cpus(v2(tmp_path / "5", quota="max 100000")) == machine


def environment(language: str = "ko", **changes: Any) -> dict[str, str]:
    return {"GPUCLASS_SEAT": json.dumps({**SEAT, **changes}), "GPUCLASS_LANGUAGE": language}


def watch_says(folder: Path, used: int, at: float, notices: list[dict[str, Any]] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    said = {"at": at, "notices": notices or [], "memory": {"used": used, "limit": 19 * GIB}}
    (folder / "watch.json").write_text(json.dumps(said), encoding="utf-8")


def test_a_shared_seat_says_share_memory_limit_and_who_holds_it(tmp_path: Path) -> None:
    watch_says(tmp_path / "run", 3 * GIB, time.time())
    card = read(environment(), tmp_path / "run", v2(tmp_path / "cgroup"), {})
    said = str(card)
    for part in (
        "GPU 자리",
        "H100",
        "4자리로 나눈 것 중 1자리",
        "19.0 GiB 중 3.0 GiB",
        "80.0 GiB",
        "감시 프로그램",
        "2개",
    ):
        assert part in said
        assert part in card._repr_html_()
    english = str(read(environment("en"), tmp_path / "run", v2(tmp_path / "cgroup"), {}))
    for part in ("GPU seat", "1 of the 4 seats", "3.0 GiB of 19.0 GiB", "watchdog"):
        assert part in english


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"mode": "exclusive", "of": 1, "enforcement": "hardware"}, "GPU 하나를 혼자"),
        ({"mode": "mig", "of": 1, "enforcement": "hardware"}, "MIG 조각 하나"),
        ({"mode": "mps", "enforcement": "driver", "shares": 2}, "4자리로 나눈 것 중 2자리"),
    ],
)
def test_each_mode_has_its_words(changes: dict[str, Any], part: str, tmp_path: Path) -> None:
    assert part in str(read(environment(**changes), tmp_path, tmp_path, {}))


@pytest.mark.parametrize("language", WORDS)
def test_every_enforcement_has_words(language: str) -> None:
    assert set(Enforcement) < WORDS[language].keys()
    assert WORDS[language].keys() == WORDS["ko"].keys()
    assert {"mig", "exclusive", "shared", "mps", "off"} == set(Mode), (
        "seat.py names MIG and treats the others by shares"
    )


@pytest.mark.parametrize("said", ['{"gpu": false}', "", "nonsense", "[]"])
def test_without_a_gpu_it_is_a_cpu_seat(said: str, tmp_path: Path) -> None:
    card = read({"GPUCLASS_SEAT": said}, tmp_path, v1(tmp_path), {})
    assert not card.gpu
    assert "CPU 자리" in str(card)
    assert "4.0 GiB 중 2.0 GiB" in str(card)


def torch_double(available: bool) -> SimpleNamespace:
    properties = SimpleNamespace(name="NVIDIA RTX 4090", total_memory=24 * GIB)
    cuda = SimpleNamespace(is_available=lambda: available, get_device_properties=lambda _: properties)
    return SimpleNamespace(__version__="2.14.1+cu130", cuda=cuda)


def test_a_gpu_that_pytorch_does_not_find_is_said(tmp_path: Path) -> None:
    blind = read(environment(), tmp_path, tmp_path, {"torch": torch_double(False)})
    assert "선생님께" in str(blind)
    assert "선생님께" in blind._repr_html_()
    assert "선생님께" not in str(read(environment(), tmp_path, tmp_path, {"torch": torch_double(True)}))
    assert "선생님께" not in str(read(environment(), tmp_path, tmp_path, {})), "torch was not imported: nobody knows"


def test_a_gpu_that_nobody_declared_is_shown(tmp_path: Path) -> None:
    assert "RTX 4090" in str(read({}, tmp_path, tmp_path, {"torch": torch_double(True)}))


def test_an_old_measurement_is_none(tmp_path: Path) -> None:
    watch_says(tmp_path, 5, at=1000.0)
    assert gpu_memory_used(tmp_path, now=1000.0 + FRESH_S) == 5
    assert gpu_memory_used(tmp_path, now=1001.0 + FRESH_S) is None
    assert gpu_memory_used(tmp_path / "nothing") is None


def board(tmp_path: Path, now: float = 1000.0, **changes: Any) -> NoticeBoard:
    return NoticeBoard(environment(**changes), tmp_path / "run", tmp_path / "cgroup", lambda: now)


def notice(name: str, until: float | None = None) -> dict[str, Any]:
    return {"id": name, "at": 1.0, "level": "warning", "until": until, "ko": f"{name} 알림", "en": f"{name} notice"}


def test_lab_is_told_memory_and_notices_that_hold(tmp_path: Path) -> None:
    v2(tmp_path / "cgroup")
    watch_says(
        tmp_path / "run", 18 * GIB, time.time(), [notice("kept"), notice("over", 999.0), notice("later", 1001.0)]
    )
    (tmp_path / "run" / "hub.json").write_text(json.dumps({"notices": [notice("idle")]}), encoding="utf-8")
    said = board(tmp_path).read()
    assert said["text"] == "GPU 18.0 / 19.0 GiB · RAM 2.0 / 4.0 GiB"
    assert said["close"], "18 of 19 GiB"
    assert [found["text"] for found in said["notices"]] == ["kept 알림", "later 알림", "idle 알림"]
    assert "GPU 하나를 4자리로" in said["details"]
    assert board(tmp_path, language="en").read()["notices"][0]["text"] == "kept notice"


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"notices": 1}', '{"notices": [1]}', '{"notices": [{"id": 1}]}'])
def test_a_file_that_cannot_be_read_is_a_missing_one(broken: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "watch.json").write_text(broken)
    (tmp_path / "run" / "hub.json").write_text(json.dumps({"notices": [notice("idle")]}), encoding="utf-8")
    assert [found["id"] for found in board(tmp_path).read()["notices"]] == ["idle"]


def test_a_kernel_killed_for_memory_is_told_once_for_each_time(tmp_path: Path) -> None:
    v1(tmp_path / "cgroup")
    lab = board(tmp_path)
    assert lab.read()["notices"] == []
    v1(tmp_path / "cgroup", kills=1)
    first = lab.read()["notices"]
    assert "메모리(RAM)가 부족해서" in first[0]["text"]
    assert "4.0 GiB" in first[0]["text"]
    assert lab.read()["notices"] == first, "a page that comes later is told too"
    v1(tmp_path / "cgroup", kills=3)
    assert lab.read()["notices"][0]["id"] != first[0]["id"]


def test_a_later_servers_kill_is_news_to_a_page_that_stayed_open(tmp_path: Path) -> None:
    v1(tmp_path / "cgroup", kills=1)
    ids = {board(tmp_path, now).read()["notices"][0]["id"] for now in (1000.0, 2000.0)}
    assert len(ids) == 2


@pytest.mark.parametrize("text", KILLED.values())
def test_lab_shows_the_whole_notice(text: str) -> None:
    assert len(text.format(limit=128.0)) <= MESSAGE_LIMIT


def test_a_cpu_seat_has_its_line_too(tmp_path: Path) -> None:
    v1(tmp_path / "cgroup")
    assert NoticeBoard({}, tmp_path, tmp_path / "cgroup").read()["text"] == "CPU 자리 · RAM 2.0 / 4.0 GiB"


def test_a_notebook_knows_that_it_came_back_after_a_kill(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    assert not killed_since_last_start(marks, "a.ipynb", 0)
    assert not killed_since_last_start(marks, "a.ipynb", 0), "a restart by hand"
    assert not killed_since_last_start(marks, "b.ipynb", 1), "its first start; another notebook was killed"
    assert killed_since_last_start(marks, "a.ipynb", 1)
    assert not killed_since_last_start(marks, "a.ipynb", 1)


def test_a_full_tmp_stops_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not killed_since_last_start(tmp_path / "file", "a.ipynb", 5)


def test_an_interrupted_cell_is_told_that_it_was_the_watch(tmp_path: Path) -> None:
    watch_says(tmp_path, GIB, 1.0, [notice("interrupted-7"), notice("fault-1"), notice("over-6", until=5.0)])
    assert interruptions(tmp_path, "ko", now=10.0) == ["도움말: interrupted-7 알림"]
    assert interruptions(tmp_path, "en", now=4.0) == ["Help: interrupted-7 notice", "Help: over-6 notice"]
    assert interruptions(tmp_path / "nothing", "ko") == []


def test_the_watchs_own_notices_are_understood(tmp_path: Path) -> None:
    board = Board(lambda login: tmp_path / login, "watch")
    said = [notices.interrupted(9.0, used=2 * GIB, limit=GIB, seconds=20, mark="7")]
    board.show("s001", said, 10.0, Memory(2 * GIB, GIB))
    assert interruptions(tmp_path / "s001", "ko", now=10.0) == [f"도움말: {said[0].ko}"]
    assert gpu_memory_used(tmp_path / "s001", now=11.0) == 2 * GIB


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.OFF])
def test_what_the_spawner_declares_is_what_the_card_shows(mode: Mode, tmp_path: Path) -> None:
    device = Device("local", "GPU-1", "NVIDIA H100 80GB HBM3", "0", 80 * GIB)
    slots = (Seat("local", "GPU-1", 0, 19 * GIB), Seat("local", "GPU-1", 1, 19 * GIB))
    lease = Lease(1, "s001", State.ACTIVE, slots, gpu=True, size=2)
    declared = wiring.describe(lease, mode, device, of=4)
    card = read({wiring.SEAT_VARIABLE: json.dumps(declared)}, tmp_path, tmp_path, {})
    assert (card.device, card.memory, card.device_memory) == (device.name, 38 * GIB, 80 * GIB)
    assert (card.mode, card.enforcement, card.shares, card.of) == (mode, wiring.ENFORCEMENT[mode], 2, 4)
