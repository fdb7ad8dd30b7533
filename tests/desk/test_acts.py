"""What teachers and mentors do to a student: who may, what it does, and that it stands in the audit."""

from __future__ import annotations

import pytest

from gpuclass.accounts import Accounts
from gpuclass.desk.acts import ACTS
from gpuclass.desk.context import Desk
from gpuclass.desk.session import PREFIX
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.gpus.model import State
from gpuclass.roster import Person, Role, Roster
from tests.desk.conftest import PEOPLE, Browsers, HubDouble

SERVER = "/hub/api/users/s001/server"
FORBIDDEN = [
    (login, name)
    for name, act in ACTS.items()
    for login in ("s001", "s002", "mentor0", *(() if Role.MENTOR in act.roles else ("mentor1",)))
]


@pytest.mark.parametrize(("login", "name"), FORBIDDEN)
async def test_who_may_not_gets_403_and_nothing_happens(
    browser: Browsers, desk: Desk, hub: HubDouble, login: str, name: str
) -> None:
    visitor = browser(login)
    for answer in (
        await visitor.page(f"student/s001/{name}"),
        await visitor.press(f"student/s001/{name}", assignment="ps1", until="+10m"),
    ):
        assert answer.status_code == 403
        assert "이하나" not in answer.text
    assert hub.asked == []
    assert desk.audit.newest() == []


@pytest.mark.parametrize("student", ["s003", "s004", "teacher", "mentor0", "nobody", "s00%311"])
async def test_a_mentor_sees_only_the_own_team_and_cannot_tell_who_else_there_is(
    browser: Browsers, student: str
) -> None:
    visitor = browser("mentor1")
    answers = [await visitor.page(f"student/{student}"), await visitor.press(f"student/{student}/stop")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert "정세찬" not in answers[0].text
    assert (await visitor.page("student/s001")).status_code == 200
    assert (await visitor.page("audit")).status_code == 403


async def test_nothing_happens_without_the_pages_own_token_or_from_elsewhere(
    browser: Browsers, hub: HubDouble, desk: Desk
) -> None:
    visitor = browser("teacher")
    path, other = f"{PREFIX}/student/s001/stop", browser("root1")
    for headers in (
        {},
        {"Origin": visitor.site},
        {"X-XSRF": visitor.xsrf},
        {"Origin": "http://s001.localhost:8000", "X-XSRF": visitor.xsrf},
        {"Origin": "null", "X-XSRF": visitor.xsrf},
        {"Origin": visitor.site, "X-XSRF": other.xsrf},
    ):
        assert (await visitor.post(path, headers=headers)).status_code == 403, headers
    assert hub.asked == []
    assert desk.audit.newest() == []
    by_form = await visitor.post(path, data={"_xsrf": visitor.xsrf}, headers={"Origin": visitor.site})
    assert by_form.status_code == 303


async def test_a_look_changes_nothing(browser: Browsers, hub: HubDouble, desk: Desk) -> None:
    visitor = browser("teacher")
    for name in ACTS:
        page = await visitor.page(f"student/s001/{name}")
        assert page.status_code == 200
        assert "이하나" in page.text
    assert hub.asked == []
    assert desk.audit.newest() == []


@pytest.mark.parametrize(
    ("login", "name", "asked"),
    [
        ("teacher", "start", [("POST", SERVER)]),
        ("mentor1", "stop", [("DELETE", SERVER)]),
        ("root1", "restart", [("DELETE", SERVER), ("POST", SERVER)]),
    ],
)
async def test_the_hub_is_asked_and_the_audit_tells(
    browser: Browsers, hub: HubDouble, desk: Desk, login: str, name: str, asked: list[tuple[str, str]]
) -> None:
    answer = await browser(login).press(f"student/s001/{name}")
    assert answer.status_code == 303
    assert [(method, path) for method, path, _ in hub.asked] == asked
    assert [(entry.who, entry.act, entry.subject) for entry in desk.audit.newest()] == [(login, name, "s001")]
    page = await browser(login).page(f"student/s001?said={name}")
    assert 'role="status"' in page.text


async def test_a_restart_waits_until_the_server_is_off(
    browser: Browsers, hub: HubDouble, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = desk.ledger.enqueue("s001", gpu=False)
    desk.ledger.reserve(lease.id)
    desk.ledger.activate(lease.id, "c1")
    hub.status = 202
    seen: list[State] = []

    def off(*_: object) -> bool:
        seen.append(desk.ledger.live()[0].state if desk.ledger.live() else State.ENDED)
        if len(seen) == 2:
            desk.ledger.end(lease.id, "stopped")
        return bool(desk.ledger.live())

    monkeypatch.setattr("gpuclass.desk.acts.LOOKS_EVERY_S", 0.01)
    monkeypatch.setattr("gpuclass.desk.acts.has_server", off)
    assert (await browser("teacher").press("student/s001/restart")).status_code == 303
    assert [method for method, _, _ in hub.asked] == ["DELETE", "POST"]
    assert b'"gpu":false' in hub.asked[-1][2].replace(b" ", b"")
    assert len(seen) >= 2


async def test_what_the_hub_refuses_is_said_and_stands_in_the_audit(
    browser: Browsers, hub: HubDouble, desk: Desk
) -> None:
    hub.status = 500
    answer = await browser("teacher").press("student/s001/stop")
    assert answer.status_code == 502
    assert "허브가 하지 못했어요" in answer.text
    assert [entry.act for entry in desk.audit.newest()] == ["stop-failed", "stop"]


async def test_a_new_card_replaces_the_password_and_is_shown_once(browser: Browsers, desk: Desk) -> None:
    before = desk.accounts.get("s001")
    answer = await browser("mentor1").press("student/s001/card")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    after = Accounts(desk.settings.accounts_path).get("s001")
    assert before is not None
    assert after is not None
    assert after.password != before.password
    assert [(entry.act, entry.detail) for entry in desk.audit.newest()] == [("card", {})]  # and no password in it


async def test_more_time_is_for_one_student(browser: Browsers, desk: Desk) -> None:
    course = desk.settings.course
    Courses(desk.exchange, course, desk.accounts.roster)
    desk.exchange.release(course, "ps1", {"a.ipynb": b"{}"}, by="teacher")
    visitor = browser("teacher")
    assert (await visitor.press("student/s001/deadline", assignment="ps1", until="+30m")).status_code == 303
    deadline = Deadlines(desk.exchange).of(course, "ps1")
    assert set(deadline.extensions) == {"s001"}
    assert deadline.due is None
    for assignment, until in (("ps1", "soon"), ("ps9", "+30m")):
        answer = await visitor.press("student/s001/deadline", assignment=assignment, until=until)
        assert answer.status_code in (400, 404)
    assert len(desk.audit.newest()) == 1


async def test_a_visit_is_noted_and_leads_to_the_students_own_domain(browser: Browsers, desk: Desk) -> None:
    asked = await browser("teacher").page("student/s001/visit")
    assert "form-action 'self' http://s001.localhost:8000;" in asked.headers["content-security-policy"]
    answer = await browser("teacher").press("student/s001/visit")
    assert answer.headers["location"] == "http://s001.localhost:8000/user/s001/lab"
    assert [entry.act for entry in desk.audit.newest()] == ["visit"]


async def test_names_stay_text(browser: Browsers, desk: Desk) -> None:
    evil = Person("s009", "<script>alert(1)</script>", Role.STUDENT, "1")
    desk.accounts.apply(Roster((*PEOPLE, evil)), {})
    desk.audit.note("teacher", "<img src=x>", "s009", why="<b>")
    for path in ("student/s009", "student/s009/stop", "audit"):
        text = (await browser("teacher").page(path)).text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b>" not in text
        assert "&lt;script&gt;alert" in text
