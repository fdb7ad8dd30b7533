"""Hands: their order, who goes, and who may see whose."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from gpuclass.desk.context import Desk
from gpuclass.desk.database import Database
from gpuclass.desk.hands import Hands
from tests.desk.conftest import Browsers


def logins(desk: Desk) -> list[str]:
    return [hand.login for hand in desk.hands.open()]


async def test_hands_stand_in_the_order_in_which_they_came_and_are_raised_once(
    browser: Browsers, container: Callable[[str], httpx.AsyncClient], desk: Desk
) -> None:
    assert (await browser("s002").press("hand")).status_code == 303
    assert (await container("s001").post("hand")).status_code == 204
    assert (await browser("s002").press("hand")).status_code == 303
    assert logins(desk) == ["s002", "s001"]
    assert "앞에 1명이 있어요" in (await browser("s001").page("me")).text
    assert (await container("s002").post("hand/lower")).status_code == 204
    assert logins(desk) == ["s001"]
    assert "다음 차례예요" in (await browser("s001").page("me")).text


async def test_the_first_who_goes_has_it_and_all_see_who(browser: Browsers, desk: Desk) -> None:
    await browser("s001").press("hand")
    await browser("mentor1").press("hands/s001/take")
    await browser("teacher").press("hands/s001/take")
    assert [hand.taken_by for hand in desk.hands.open()] == ["mentor1"]
    assert "박멘토 님이 가요" in (await browser("teacher").page("hands")).text
    assert "박멘토 님이 가고 있어요" in (await browser("s001").page("me")).text
    await browser("mentor1").press("hands/s001/leave")
    await browser("teacher").press("hands/s001/take")
    assert [hand.taken_by for hand in desk.hands.open()] == ["teacher"]
    await browser("teacher").press("hands/s001/done")
    assert logins(desk) == []
    assert [entry.act for entry in desk.audit.newest()] == ["hand-done", "hand-taken", "hand-left", "hand-taken"]


async def test_a_mentor_sees_and_takes_hands_of_the_own_team_only(browser: Browsers, desk: Desk) -> None:
    for student in ("s001", "s003"):
        await browser(student).press("hand")
    page = (await browser("mentor1").page("hands")).text
    assert "이하나" in page
    assert "정세찬" not in page
    assert "이하나" not in (await browser("mentor0").page("hands/now")).text
    for act in ("take", "leave", "done"):
        assert (await browser("mentor1").press(f"hands/s003/{act}")).status_code == 403
        assert (await browser("s001").press(f"hands/s003/{act}")).status_code == 403
    assert (await browser("s001").page("hands")).status_code == 403
    assert [hand.taken_by for hand in desk.hands.open()] == [None, None]


async def test_from_elsewhere_no_hand_is_raised(browser: Browsers, desk: Desk) -> None:
    visitor = browser("s001")
    answer = await visitor.post("/services/desk/hand", headers={"Origin": "http://s002.localhost:8000"})
    assert answer.status_code == 403
    assert logins(desk) == []


def test_hands_outlive_the_desk(desk: Desk) -> None:
    desk.hands.up("s001")
    desk.hands.take("s001", "teacher")
    again = Hands(Database(desk.settings.desk_path), desk.audit, desk.wakeups)
    assert [(hand.login, hand.taken_by) for hand in again.open()] == [("s001", "teacher")]


@pytest.mark.parametrize("who", ["teacher", "mentor1"])
async def test_helpers_see_how_long_somebody_waits(browser: Browsers, who: str) -> None:
    await browser("s001").press("hand")
    assert "0분째" in (await browser(who).page("hands")).text


async def test_only_students_raise_a_hand(
    browser: Browsers, container: Callable[[str], httpx.AsyncClient], desk: Desk
) -> None:
    assert (await browser("mentor1").press("hand")).status_code == 403
    assert (await container("teacher").post("hand")).status_code == 403
    assert logins(desk) == []
    assert "data-hand" not in (await container("teacher").get("panel")).text
    assert "/services/desk/board" in (await container("teacher").get("panel")).text
    assert "/services/desk/board" not in (await container("s001").get("panel")).text
