"""Idle seats: whoever holds one is warned, keeps it by working, and loses it only outside lessons."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from docker.errors import NotFound

from gpuclass.gpus.model import Lease, Seat, State
from gpuclass.queue.hubapi import HubApi, HubRefusedError
from gpuclass.settings import Settings
from gpuclass.watch import notices
from gpuclass.watch.idle import Kernel
from gpuclass.watch.notices import Board
from gpuclass.watch.reclaim import Reclaimer, Servers
from gpuclass.watch.usage import SeatUse, Usage, write_usage
from tests.conftest import MakeSettings
from tests.watch.test_idle import CONTAINER


def moment(text: str) -> float:
    return datetime.fromisoformat(f"2026-12-01 {text}").replace(tzinfo=ZoneInfo("Asia/Seoul")).timestamp()


LEASE = Lease(
    1, "s001", State.ACTIVE, (Seat("local", "GPU-1", 0, 10),), gpu=True, container="c1", granted_at=moment("09:00")
)


@dataclass
class HubDouble:
    """A hub with one server; what was asked of it and stopped in it."""

    settings: Settings
    time: float = 0.0
    kernels: Sequence[Kernel] | None = ()
    asked: int = 0
    stopped: list[str] = field(default_factory=list)
    reclaimed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.settings.gpus_folder.mkdir()
        self.lease = LEASE
        self.reclaimer = self.new()

    def new(self) -> Reclaimer:
        board = Board(self.settings.notices, "hub")
        return Reclaimer(self.settings, self.kernels_of, self.stop, board, self.reclaimed.add, now=lambda: self.time)

    async def kernels_of(self, container: str) -> Sequence[Kernel] | None:
        assert container == "c1"
        self.asked += 1
        return self.kernels

    async def stop(self, user: str) -> None:
        self.stopped.append(user)

    async def at(self, text: str, *, busy_at: str = "09:30") -> bool:
        """Look at this time; whether the holder reads a warning afterwards."""
        self.time = moment(text)
        seat = SeatUse("c1", "s001", 1, "GPU-1", 10, 5, 1, moment(busy_at))
        write_usage(self.settings.gpus_folder, Usage("local", self.time, (seat,)))
        await self.reclaimer.look([self.lease])
        return bool(notices.read(self.settings.notices("s001"), "hub"))


@pytest.fixture
def hub(make_settings: MakeSettings) -> HubDouble:
    """Lessons until 12:00; a seat is idle after 30 minutes."""
    return HubDouble(
        make_settings('timezone = "Asia/Seoul"\nlessons = ["2026-12-01 09:00-12:00"]\n[gpu]\nidle = "30m"')
    )


async def test_an_idle_holder_is_warned_and_five_minutes_later_the_seat_is_free(hub: HubDouble) -> None:
    assert not await hub.at("12:20")
    assert await hub.at("12:25")
    assert await hub.at("12:29")
    assert hub.stopped == []
    assert hub.reclaimed == set()
    assert not await hub.at("12:30")
    assert hub.stopped == ["s001"]
    assert hub.reclaimed == {"s001"}


async def test_running_a_cell_after_the_warning_keeps_the_seat(hub: HubDouble) -> None:
    assert await hub.at("12:25")
    hub.kernels = [Kernel(False, moment("12:28"))]
    assert not await hub.at("12:29")
    assert not await hub.at("12:40")
    assert hub.stopped == []


async def test_a_training_in_a_closed_browser_keeps_the_seat(hub: HubDouble) -> None:
    hub.kernels = [Kernel(True, moment("09:30"))]
    assert not await hub.at("15:00", busy_at="13:01")
    assert not await hub.at("18:00", busy_at="17:00")
    assert hub.stopped == []


async def test_nobody_is_asked_during_a_lesson_or_while_the_gpu_works(hub: HubDouble) -> None:
    assert not await hub.at("11:59")
    assert not await hub.at("15:00", busy_at="14:59")
    assert hub.asked == 0


async def test_a_lesson_that_begins_after_the_warning_keeps_the_seat(
    make_settings: MakeSettings, hub: HubDouble
) -> None:
    assert await hub.at("12:25")
    settings = make_settings('timezone = "Asia/Seoul"\nlessons = ["2026-12-01 12:26-13:00"]\n[gpu]\nidle = "30m"')
    hub.reclaimer._settings = settings
    assert not await hub.at("12:31")
    assert hub.stopped == []


async def test_without_a_fresh_look_of_the_watch_nobody_loses_a_seat(hub: HubDouble) -> None:
    assert await hub.at("12:25")
    hub.time = moment("12:40")  # what the watch wrote is from 12:25
    await hub.reclaimer.look([LEASE])
    assert hub.stopped == []


async def test_a_server_that_does_not_answer_keeps_its_seat(hub: HubDouble) -> None:
    hub.kernels = None
    assert not await hub.at("13:50")


@pytest.mark.parametrize("kernels", [[Kernel(True, moment("09:30"))], None], ids=["says busy", "says nothing"])
async def test_a_server_is_not_believed_for_ever(hub: HubDouble, kernels: Sequence[Kernel] | None) -> None:
    hub.kernels = kernels
    assert not await hub.at("14:00")  # two hours after the lesson: four times 30 minutes
    assert await hub.at("14:01")
    assert await hub.at("14:05")
    assert hub.stopped == []
    await hub.at("14:06")
    assert hub.stopped == ["s001"]


async def test_a_server_that_is_not_believed_any_more_keeps_its_seat_by_working_on_the_gpu(hub: HubDouble) -> None:
    hub.kernels = [Kernel(True, moment("09:30"))]
    assert await hub.at("14:01")
    assert not await hub.at("14:06", busy_at="14:05")
    assert not await hub.at("16:05", busy_at="14:05")
    assert hub.stopped == []


async def test_after_a_restart_of_the_hub_the_warning_is_repeated(hub: HubDouble) -> None:
    assert await hub.at("12:25")
    hub.reclaimer = hub.new()
    assert await hub.at("12:40")
    assert hub.stopped == []
    await hub.at("12:45")
    assert hub.stopped == ["s001"]


async def test_a_new_lease_of_the_same_person_is_not_the_one_that_was_warned(hub: HubDouble) -> None:
    assert await hub.at("12:25")
    hub.lease = replace(LEASE, id=2, granted_at=moment("12:26"))
    assert not await hub.at("12:30")
    await hub.at("12:40")
    assert hub.stopped == []


async def test_a_server_that_cannot_be_stopped_is_tried_again(hub: HubDouble, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(user: str) -> None:
        raise RuntimeError("the engine does not answer")

    assert await hub.at("12:25")
    hub.reclaimer._stop = refuse
    await hub.at("12:30")
    assert "the engine does not answer" in caplog.text
    assert hub.reclaimed == set()
    hub.reclaimer._stop = hub.stop
    await hub.at("12:31")
    assert hub.stopped == ["s001"]


async def test_whoever_cannot_be_warned_keeps_the_seat(hub: HubDouble) -> None:
    hub.lease = replace(LEASE, user="../x")
    await hub.at("12:25")
    await hub.at("12:40")
    assert hub.stopped == []


async def test_servers_are_asked_in_their_containers(settings: Settings) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url).startswith("http://10.89.0.7:8888/user/s001/api/")
        busy = [{"execution_state": "busy", "last_activity": "2026-12-01T00:00:00Z"}]
        return httpx.Response(200, json=busy if "kernels" in request.url.path else [])

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        servers = Servers(settings, {"c1": CONTAINER}.__getitem__, client)
        assert await servers.kernels_of("c1") == [Kernel(True, moment("09:00"))]


async def test_a_container_that_the_engine_does_not_know_is_no_answer(settings: Settings) -> None:
    def inspect(container: str) -> dict[str, Any]:
        raise NotFound("no such container")

    async with httpx.AsyncClient() as client:
        assert await Servers(settings, inspect, client).kernels_of("c1") is None


@pytest.fixture
def hub_api() -> Iterator[tuple[str, list[tuple[str, str]], list[int]]]:
    """A hub's REST API that answers DELETE with a code: its address, who asked with which token, and the codes."""
    asked: list[tuple[str, str]] = []
    codes: list[int] = []

    class Answer(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(codes.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hub/api", asked, codes
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_server_is_stopped_through_the_hub(
    hub_api: tuple[str, list[tuple[str, str]], list[int]],
) -> None:
    url, asked, codes = hub_api
    for code in (202, 204, 400, 404):  # being stopped, stopped, not running, no such user
        codes.append(code)
        await HubApi(url, "t").stop_server("s001")
    assert set(asked) == {("/hub/api/users/s001/server", "token t")}
    codes.append(403)
    with pytest.raises(HubRefusedError, match="HTTP 403"):
        await HubApi(url, "t").stop_server("s001")


async def test_a_hub_that_does_not_answer_is_said() -> None:
    with pytest.raises(HubRefusedError, match="does not answer"):
        await HubApi("http://127.0.0.1:9/hub/api", "t").stop_server("s001")
