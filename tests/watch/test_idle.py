"""When a seat is idle, and when it is given back."""

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from gpuclass.gpus.model import Lease, State
from gpuclass.settings import Settings
from gpuclass.watch import idle
from gpuclass.watch.idle import Kernel, Verdict, decide, idle_since, way_in
from gpuclass.watch.usage import SeatUse, Usage
from tests.conftest import MakeSettings

LEASE = Lease(1, "s001", State.ACTIVE, gpu=True, container="c1", granted_at=1000.0)
NOW = 10_000.0


def usage(busy_at: float) -> Usage:
    return Usage("local", NOW, seats=(SeatUse("c1", "s001", 1, "GPU-1", 10, 5, 1, busy_at),))


async def since(kernels: Sequence[Kernel] | None, seen: Usage | None) -> float | None:
    async def kernels_of(container: str) -> Sequence[Kernel] | None:
        assert container == "c1"
        return kernels

    return await idle_since(kernels_of, seen, LEASE, NOW)


async def test_a_seat_is_idle_since_its_last_kernel_or_gpu_process_worked() -> None:
    assert await since([Kernel(False, 3000), Kernel(False, 5000)], usage(4000)) == 5000
    assert await since([Kernel(False, 3000)], usage(4000)) == 4000
    assert await since([], usage(0)) == LEASE.granted_at


async def test_a_training_whose_browser_is_closed_is_not_idle() -> None:
    assert await since([Kernel(True, 3000)], usage(3000)) is None  # its kernel is busy
    assert await since([Kernel(False, 3000)], usage(NOW)) == NOW  # its process on the GPU is, started in a terminal


@pytest.mark.parametrize("seen", [None, Usage("local", NOW)])
async def test_nobody_loses_a_seat_because_something_cannot_be_asked(seen: Usage | None) -> None:
    assert await since([], seen) is None
    assert await since(None, usage(0)) is None


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Seoul")).timestamp()


@pytest.fixture
def timetable(make_settings: MakeSettings) -> Settings:
    return make_settings('timezone = "Asia/Seoul"\nlessons = ["2026-12-01 09:00-12:00"]\n[gpu]\nidle = "30m"')


def test_no_seat_is_taken_during_a_lesson(timetable: Settings) -> None:
    now = moment("2026-12-01 11:59")
    assert decide(now - 7200, warned_at=now - 3600, settings=timetable, now=now) is Verdict.KEEP


def test_without_a_timetable_no_seat_is_ever_taken(settings: Settings) -> None:
    assert decide(0.0, warned_at=1.0, settings=settings, now=1e9) is Verdict.KEEP


def test_the_time_in_a_lesson_does_not_count(timetable: Settings) -> None:
    in_lesson = moment("2026-12-01 09:30")
    assert decide(in_lesson, warned_at=None, settings=timetable, now=moment("2026-12-01 12:24")) is Verdict.KEEP
    assert decide(in_lesson, warned_at=None, settings=timetable, now=moment("2026-12-01 12:25")) is Verdict.WARN


def test_a_seat_is_taken_only_five_minutes_after_its_warning(timetable: Settings) -> None:
    began = moment("2026-12-01 14:00")
    warned = moment("2026-12-01 14:25")

    def verdict(at: str, warned_at: float | None) -> Verdict:
        return decide(began, warned_at=warned_at, settings=timetable, now=moment(f"2026-12-01 {at}"))

    assert verdict("14:24", None) is Verdict.KEEP
    assert verdict("14:25", None) is Verdict.WARN
    assert verdict("14:29", warned) is Verdict.WARN
    assert verdict("14:30", warned) is Verdict.RECLAIM
    assert verdict("18:00", None) is Verdict.WARN  # the hub was down meanwhile: nobody was warned


def test_working_again_keeps_the_seat(timetable: Settings) -> None:
    now = moment("2026-12-01 14:30")
    assert decide(None, warned_at=now - 400, settings=timetable, now=now) is Verdict.KEEP
    assert decide(now - 10, warned_at=now - 400, settings=timetable, now=now) is Verdict.KEEP


def server(kernels: object, terminals: object = None) -> httpx.AsyncClient:
    """A server's answers; `None` for a part that is switched off."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "token t"
        assert request.url.params["no_track_activity"] == "1"
        said = kernels if request.url.path.endswith("/kernels") else terminals
        return httpx.Response(404) if said is None else httpx.Response(200, json=said)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_kernels_and_terminals_of_a_server_are_read() -> None:
    at = "2026-12-01T00:00:00.000000Z"
    kernels = [
        {"id": "1", "execution_state": "busy", "last_activity": at},
        {"id": "2", "execution_state": "idle", "last_activity": at},
    ]
    async with server(kernels, [{"name": "1", "last_activity": at}]) as client:
        found = await idle.ask(client, "http://c/user/s001/", "t")
    second = moment("2026-12-01 09:00")
    assert found == [Kernel(True, second), Kernel(False, second), Kernel(False, second)]


async def test_a_server_without_terminals_is_understood() -> None:
    async with server([], None) as client:
        assert await idle.ask(client, "http://c/user/s001/", "t") == []


@pytest.mark.parametrize(
    "kernels",
    [
        {"not": "a list"},
        ["x"],
        [{"execution_state": "idle"}],
        [{"execution_state": "idle", "last_activity": "soon"}],
        [{"execution_state": "idle", "last_activity": 3}],
        "x" * (idle.ANSWER_LIMIT + 1),
    ],
)
async def test_an_answer_that_makes_no_sense_is_no_answer(kernels: object) -> None:
    async with server(kernels) as client:
        assert await idle.ask(client, "http://c/user/s001/", "t") is None


async def test_what_a_server_sets_as_cookies_is_forgotten() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "Cookie" not in request.headers
        return httpx.Response(200, json=[], headers={"Set-Cookie": f"a={'x' * 9999}"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert await idle.ask(client, "http://10.89.0.7:8888/", "t") == []
        assert not client.cookies


CONTAINER = {
    "Config": {"Env": ["A=1", "JUPYTERHUB_API_TOKEN=abc==", "JUPYTERHUB_SERVICE_URL=http://0.0.0.0:8888/user/s001/"]},
    "NetworkSettings": {"Networks": {"gpc-camp": {"IPAddress": "10.89.0.7"}}},
}


def test_the_way_into_a_server_is_read_from_its_container() -> None:
    assert way_in(CONTAINER, "gpc-camp") == ("http://10.89.0.7:8888/user/s001/", "abc==")


@pytest.mark.parametrize(
    "container",
    [
        {},
        {**CONTAINER, "Config": {"Env": None}},
        {**CONTAINER, "Config": {"Env": ["JUPYTERHUB_API_TOKEN=abc"]}},
        {**CONTAINER, "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}}},
        {**CONTAINER, "NetworkSettings": {"Networks": {"gpc-camp": {"IPAddress": ""}}}},  # it has just ended
    ],
)
def test_into_anything_else_there_is_no_way(container: dict[str, Any]) -> None:
    assert way_in(container, "gpc-camp") is None


@pytest.mark.parametrize("trick", ["drips", "packed"])
async def test_a_hostile_answer_costs_neither_time_nor_memory(trick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "ASK_TIMEOUT_S", 0.2)
    over = asyncio.Event()
    packed = gzip.compress(gzip.compress(b"[" + b" " * 30 * 2**20 + b"]"))  # 30 MiB as some hundred bytes

    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        kind = "Content-Encoding: gzip, gzip" if trick == "packed" else "Content-Type: application/json"
        writer.write(f"HTTP/1.1 200 OK\r\n{kind}\r\nConnection: close\r\n\r\n".encode())
        writer.write(packed if trick == "packed" else b"")
        with suppress(ConnectionError):
            for _ in range(60 if trick == "drips" else 0):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(hostile, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    tracemalloc.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as client, server:
            began = time.monotonic()
            assert await idle.ask(client, url, "t") is None
            assert time.monotonic() - began < 2
            await asyncio.wait_for(over.wait(), 5)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
