"""Messages: who may write to whom, who reads them, and how fast they are in Lab."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from gpuclass.desk.context import Desk
from gpuclass.noticeboard import holding
from tests.desk.conftest import Browsers

Containers = Callable[[str], httpx.AsyncClient]


async def notices(container: Containers, login: str) -> list[str]:
    answer = (await container(login).get("state")).json()
    return [str(each["text"]) for each in holding(answer["notices"], "ko", time.time())]


@pytest.mark.parametrize(
    ("to", "reached"),
    [("class", {"s001", "s002", "s003", "s004"}), ("team:1", {"s001", "s002"}), ("person:s003", {"s003"})],
)
async def test_a_message_reaches_those_it_is_for(
    browser: Browsers, container: Containers, to: str, reached: set[str]
) -> None:
    assert (
        await browser("teacher").press("messages", to=to, text="<b>저장</b>하세요", minutes="10")
    ).status_code == 303
    found = {login for login in ("s001", "s002", "s003", "s004") if await notices(container, login)}
    assert found == reached
    login = min(reached)
    assert await notices(container, login) == ["김선생: <b>저장</b>하세요"]
    page = (await browser(login).page("me")).text
    assert "<b>저장" not in page
    assert "&lt;b&gt;저장" in page


@pytest.mark.parametrize("to", ["class", "team:2", "person:s003", "person:teacher", "person:mentor0", "team:"])
async def test_a_mentor_writes_to_the_own_team_only(browser: Browsers, desk: Desk, to: str) -> None:
    assert (await browser("mentor1").press("messages", to=to, text="hi", minutes="5")).status_code in (400, 403)
    assert desk.messages.newest() == []
    assert (await browser("mentor1").press("messages", to="team:1", text="hi", minutes="5")).status_code == 303
    assert (await browser("mentor1").press("messages", to="person:s002", text="hi", minutes="5")).status_code == 303
    assert "정세찬" not in (await browser("mentor1").page("messages")).text


async def test_students_write_none(browser: Browsers, desk: Desk) -> None:
    assert (await browser("s001").page("messages")).status_code == 403
    assert (await browser("s001").press("messages", to="class", text="hi", minutes="5")).status_code == 403
    assert desk.messages.newest() == []


@pytest.mark.parametrize(
    ("to", "text", "minutes"),
    [
        ("class", " ", "10"),
        ("class", "x" * 501, "10"),
        ("class", "x", "11"),
        ("all", "x", "10"),
        ("class:1", "x", "10"),
    ],
)
async def test_what_is_no_message_is_refused(browser: Browsers, desk: Desk, to: str, text: str, minutes: str) -> None:
    assert (await browser("teacher").press("messages", to=to, text=text, minutes=minutes)).status_code == 400
    assert desk.messages.newest() == []


async def test_a_message_ends_by_itself_or_is_taken_back(
    browser: Browsers, desk: Desk, container: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser("teacher").press("messages", to="class", text="first", minutes="5")
    await browser("teacher").press("messages", to="class", text="second", minutes="30")
    first, second = sorted(each.id for each in desk.messages.newest())
    assert (await browser("mentor1").press(f"messages/{second}/back")).status_code == 403
    await browser("teacher").press(f"messages/{first}/back")
    assert await notices(container, "s001") == ["김선생: second"]
    later = desk.database.clock() + timedelta(minutes=31)
    monkeypatch.setattr(desk.database, "clock", lambda: later)
    assert desk.messages.standing() == []


async def test_whoever_waits_is_told_at_once(browser: Browsers, container: Containers) -> None:
    first = await container("s001").get("state")
    mark = {"If-None-Match": first.headers["etag"]}
    waiting = asyncio.create_task(container("s001").get("state", headers=mark, timeout=30))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await browser("teacher").press("messages", to="person:s001", text="hi", minutes="5")
    answer = await asyncio.wait_for(waiting, 2)
    assert answer.json()["notices"][0]["ko"] == "김선생: hi"


async def test_news_of_others_wakes_nobody(
    browser: Browsers, container: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuclass.desk.messages.HELD_S", 0.5)
    first = await container("s001").get("state")
    mark = {"If-None-Match": first.headers["etag"]}
    waiting = asyncio.create_task(container("s001").get("state", headers=mark, timeout=30))
    await asyncio.sleep(0.1)
    await browser("s002").press("hand")
    assert (await waiting).status_code == 304


async def test_that_somebody_comes_is_told_in_lab(browser: Browsers, container: Containers) -> None:
    await container("s001").post("hand")
    await browser("mentor1").press("hands/s001/take")
    assert await notices(container, "s001") == ["박멘토 님이 가고 있어요."]
    await browser("mentor1").press("hands/s001/done")
    assert await notices(container, "s001") == []
