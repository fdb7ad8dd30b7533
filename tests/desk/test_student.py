"""A student's own page: what they read of their server and their assignments, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gpuclass.desk.context import Desk
from gpuclass.desk.student import Server, Stage, Work, assignments, server
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.gpus.model import Lease, Seat, State
from tests.desk.conftest import Browsers

NOTEBOOK = {"a.ipynb": b"{}"}


def lease(user: str, state: State, **more: object) -> Lease:
    return Lease(1, user, state, **more)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("leases", "queue", "wanted"),
    [
        ([], [], Server("off")),
        ([lease("s002", State.ACTIVE)], [], Server("off")),
        ([lease("s001", State.QUEUED, gpu=True)], ["s002", "s001"], Server("queued", 1, True)),
        ([lease("s001", State.RESERVED)], [], Server("starting")),
        ([lease("s001", State.ACTIVE, gpu=True, seats=(Seat("local", "GPU-1", 0, 5),))], [], Server("on", 0, True, 5)),
        ([lease("s001", State.LOST)], [], Server("lost")),
    ],
)
def test_where_a_server_is(leases: list[Lease], queue: list[str], wanted: Server) -> None:
    assert server("s001", leases, queue) == wanted


@pytest.fixture
def released(desk: Desk) -> Desk:
    course = desk.settings.course
    Courses(desk.exchange, course, desk.accounts.roster)
    desk.exchange.release(course, "ps1", NOTEBOOK, by="teacher")
    return desk


def only(desk: Desk, login: str) -> Work:
    (work,) = assignments(desk, login)
    return work


def submit(desk: Desk, login: str) -> None:
    desk.exchange.submit(desk.settings.course, "ps1", login, NOTEBOOK)


def stage(desk: Desk, login: str) -> Stage:
    return only(desk, login).stage


async def test_a_submission_shows_its_receipt_and_nobody_else_sees_it(released: Desk, browser: Browsers) -> None:
    assert stage(released, "s001") == "open"
    submit(released, "s001")
    assert (stage(released, "s001"), only(released, "s001").sent) == ("waiting", 1)
    assert stage(released, "s002") == "open"
    mine, theirs = (await browser("s001").page("me")).text, (await browser("s002").page("me")).text
    assert "접수 번호" in mine
    assert "접수 번호" not in theirs
    assert "아직 제출하지 않았어요" in theirs


async def test_late_and_until_when_are_said(released: Desk, browser: Browsers) -> None:
    soon = datetime.now(UTC) - timedelta(minutes=1)
    Deadlines(released.exchange).put(released.settings.course, "ps1", soon, by="teacher")
    submit(released, "s001")
    page = (await browser("s001").page("me")).text
    assert only(released, "s001").late
    assert "늦게 냈어요" in page
    assert "까지" in page


async def test_lab_gets_its_panel_by_the_containers_token(
    released: Desk, container: Callable[[str], httpx.AsyncClient]
) -> None:
    submit(released, "s001")
    panel = await container("s001").get("panel")
    assert panel.status_code == 200
    assert "접수 번호" in panel.text
    assert "접수 번호" not in (await container("s002").get("panel")).text
    assert (await container("stranger").get("panel")).status_code == 401
