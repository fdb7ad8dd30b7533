"""The board: who sees whom, who comes first, and that it follows by itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gpuclass.desk.board import live
from gpuclass.desk.board.routes import _still
from gpuclass.desk.context import Desk
from gpuclass.roster import Person, Role, Roster
from tests.desk.conftest import PEOPLE, Browsers, HubDouble

REPORT = {"session": "01-pixels-to-tensors", "kind": "lecture", "cells": 5, "errors": [], "repeated": 0, "busy": True}


async def logins(browser: Browsers, who: str, query: str = "") -> list[str]:
    answer = await browser(who).page(f"board.json{query}")
    return [each["login"] for each in answer.json()["students"]]


async def test_a_teacher_sees_all_and_a_mentor_the_own_team(browser: Browsers) -> None:
    assert set(await logins(browser, "teacher")) == {"s001", "s002", "s003", "s004"}
    assert set(await logins(browser, "teacher", "?team=2")) == {"s003"}
    assert set(await logins(browser, "mentor1")) == {"s001", "s002"}
    text = (await browser("mentor1").page("board")).text
    assert "이하나" in text
    assert "정세찬" not in text


@pytest.mark.parametrize("path", ["board", "board.json", "board/stream"])
@pytest.mark.parametrize(
    ("who", "query"), [("s001", ""), ("mentor0", ""), ("mentor1", "?team=2"), ("mentor0", "?team=1")]
)
async def test_the_board_of_others_is_refused(browser: Browsers, path: str, who: str, query: str) -> None:
    answer = await browser(who).page(path + query)
    assert answer.status_code == 403
    assert "정세찬" not in answer.text


async def test_whoever_raises_a_hand_comes_first_and_longest_first(
    browser: Browsers, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.0)
    assert await logins(browser, "teacher") == ["s001", "s003", "s002", "s004"]  # by name
    for login in ("s004", "s002"):
        desk.hands.up(login)
    desk.hands.take("s004", "teacher")
    assert await logins(browser, "teacher") == ["s002", "s004", "s001", "s003"]


async def yes() -> bool:
    return True


async def event(stream: Any) -> dict[str, Any]:
    """The next event that tells something."""
    async with asyncio.timeout(5):
        async for text in stream:
            if text.startswith("event: board"):
                return dict(json.loads(text.split("data: ", 1)[1]))
    raise AssertionError("the stream ended")


async def test_a_raised_hand_is_on_the_board_at_once_and_nothing_else_is_sent(browser: Browsers, desk: Desk) -> None:
    browser(None)
    stream = desk.live.stream("teacher", None, "ko", yes)
    first = await event(stream)
    assert set(first["tiles"]) == {"s001", "s002", "s003", "s004"}
    following = asyncio.ensure_future(event(stream))
    await asyncio.sleep(0.1)
    desk.hands.up("s003")
    second = await asyncio.wait_for(following, 1.0)
    assert set(second["tiles"]) == {"s003"}
    assert "fa-hand" in second["tiles"]["s003"]
    assert second["order"][0] == "s003"
    await stream.aclose()


async def test_a_mentors_stream_has_no_tile_of_others(desk: Desk) -> None:
    stream = desk.live.stream("mentor1", "1", "ko", yes)
    first = await event(stream)
    assert set(first["tiles"]) == {"s001", "s002"}
    assert "정세찬" not in json.dumps(first, ensure_ascii=False)
    await stream.aclose()


async def test_a_stream_ends_when_the_roster_no_longer_has_them(desk: Desk) -> None:
    there = [True]

    async def still() -> bool:
        return there[0]

    stream = desk.live.stream("mentor1", "1", "ko", still)
    await event(stream)
    there[0] = False
    with pytest.raises(AssertionError, match="ended"):
        await event(stream)


async def test_one_person_has_only_so_many_streams(desk: Desk) -> None:
    streams = [desk.live.stream("teacher", None, "ko", yes) for _ in range(live.STREAMS + 1)]
    for stream in streams[:-1]:
        await event(stream)
    with pytest.raises(AssertionError, match="ended"):
        await event(streams[-1])
    for stream in streams:
        await stream.aclose()
    again = desk.live.stream("teacher", None, "ko", yes)
    await event(again)
    await again.aclose()


async def test_what_notebooks_report_is_on_the_tile_and_names_stay_text(browser: Browsers, desk: Desk) -> None:
    evil = Person("s009", "<script>alert(1)</script>", Role.STUDENT, "1")
    desk.accounts.apply(Roster((*PEOPLE, evil)), {})
    desk.reports.take("s001", json.dumps(REPORT).encode())
    text = (await browser("teacher").page("board")).text
    assert "01-pixels-to-tensors" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    stream = desk.live.stream("teacher", None, "en", yes)
    told = await event(stream)
    assert "<script>" not in told["tiles"]["s009"]
    await stream.aclose()


async def test_an_exchange_that_cannot_be_read_ends_no_board(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("disk")

    whole = desk.live._sources.read
    monkeypatch.setattr(live, "ALIVE_S", 0.0)
    monkeypatch.setattr(desk.live._sources, "read", broken)
    stream = desk.live.stream("teacher", None, "ko", yes)
    assert (await anext(aiter(stream))).startswith("event: away")
    monkeypatch.setattr(desk.live._sources, "read", whole)
    assert set((await event(stream))["tiles"]) == {"s001", "s002", "s003", "s004"}  # so the page knows that it is back
    await stream.aclose()


@pytest.mark.parametrize(
    ("who", "page"), [("teacher", "board"), ("mentor1", "board"), ("mentor0", "me"), ("s001", "me")]
)
async def test_the_first_page_is_one_that_its_reader_may_see(browser: Browsers, who: str, page: str) -> None:
    assert (await browser(who).page("")).headers["location"].endswith(f"/{page}")


async def test_a_board_that_cannot_be_read_is_said_plainly(
    browser: Browsers, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise OSError("disk")

    monkeypatch.setattr(desk.live._sources, "read", broken)
    for path in ("board", "board.json"):
        answer = await browser("teacher").page(path)
        assert answer.status_code == 503
        assert "지금은 화면을 읽을 수 없어요" in answer.text


async def test_a_stream_ends_with_the_log_in_and_outlives_the_hub(desk: Desk, hub: HubDouble) -> None:
    teacher = desk.roster.get("teacher")
    assert teacher is not None
    assert await _still(desk, teacher, "token of teacher")
    assert not await _still(desk, teacher, "token of stranger")
    assert not await _still(desk, teacher, "token of s001")
    hub.down = True
    assert await _still(desk, teacher, "token of nobody knows")


async def test_one_board_too_many_is_refused_and_not_begun(browser: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAMS", 0)
    assert (await browser("teacher").page("board/stream")).status_code == 429
