"""One request tells a client all that it needs, and nothing that is not for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import Engine, event

from gpuclass.exchange.service.app import PREFIX, create_app
from gpuclass.exchange.service.identity import Identity
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.store import Store, Submission
from gpuclass.exchange.wire import show_time
from gpuclass.settings import FeedbackPolicy
from tests.exchange.conftest import NOTEBOOK, HubDouble, prepare, user

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PATH = f"{PREFIX}/gpuclass/v1/assignments/camp"


class Service:
    """The service in this process, with its store at hand; who asks says so by the token."""

    def __init__(self, folder: Path, policy: FeedbackPolicy) -> None:
        self.hub = HubDouble("127.0.0.1")
        settings = prepare(folder, self.hub, "127.0.0.1", policy)
        self.now = NOON
        self.store = Store(settings.exchange_folder, clock=lambda: self.now)
        self.deadlines = Deadlines(self.store)

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=user(request.headers["Authorization"].removeprefix("token ")))

        self.app = create_app(settings, self.store, Identity("http://h/hub/api", transport=httpx.MockTransport(answer)))

    async def get(self, login: str, path: str = PATH) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://x") as client:
            return await client.get(path, headers={"Authorization": f"token {login}"})

    async def assignments(self, login: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.get(login)).json()["assignments"]
        return listed

    def close(self) -> None:
        self.store.close()
        self.hub.close()


@pytest.fixture
def policy() -> FeedbackPolicy:
    """The class's `[grading] feedback`."""
    return "now"


@pytest.fixture
def service(tmp_path: Path, policy: FeedbackPolicy) -> Iterator[Service]:
    made = Service(tmp_path, policy)
    made.store.release("camp", "one", NOTEBOOK, by="teacher")
    yield made
    made.close()


async def test_everything_for_a_submission_comes_in_one_answer(service: Service) -> None:
    service.store.release("camp", "one", {"b.ipynb": b"{}", "a.txt": b"a"}, by="teacher", again=True)
    service.deadlines.put("camp", "one", NOON - timedelta(hours=1), by="teacher")
    sent = service.store.submit("camp", "one", "student1", {"b.ipynb": b"1"}, version=1, queued=NOON)
    assert (await service.get("student1")).json() == {
        "success": True,
        "now": "2026-11-23 12:00:00.000000 UTC",
        "limits": {"submission_limit": 50 * 2**20, "file_limit": 25 * 2**20, "files_limit": 100},
        "assignments": [
            {
                "name": "one",
                "version": 2,
                "released": "2026-11-23 12:00:00.000000 UTC",
                "due": "2026-11-23 11:00:00.000000 UTC",
                "feedback_opens": "now",
                "files": ["a.txt", "b.ipynb"],
                "release_files": [
                    {"path": "a.txt", "checksum": "0cc175b9c0f1b6a831c399e269772661", "size": 1},
                    {"path": "b.ipynb", "checksum": "99914b932bd37a50b983c5e7c90ae93b", "size": 2},
                ],
                "submissions": [
                    {
                        "submission": sent.id,
                        "timestamp": "2026-11-23 12:00:00.000000 UTC",
                        "version": 1,
                        "late": True,
                        "queued": "2026-11-23 12:00:00.000000 UTC",
                        "size": 1,
                        "files": ["b.ipynb"],
                        "state": "waiting",
                        "not_before": None,
                        "place": 0,
                        "status": None,
                        "score": None,
                        "max_score": None,
                        "feedback": [],
                    }
                ],
            }
        ],
    }


async def test_everybody_sees_their_own_submissions_and_deadline_only(service: Service) -> None:
    service.deadlines.put("camp", "one", NOON - timedelta(hours=2), by="teacher")
    longer = NOON + timedelta(days=1)
    service.deadlines.put("camp", "one", longer, by="teacher", student="student2")
    for login in ("student1", "student2"):
        service.store.submit("camp", "one", login, {f"{login}.ipynb": b""})
    for login, due, late in (("student1", NOON - timedelta(hours=2), True), ("student2", longer, False)):
        [one] = await service.assignments(login)
        assert (one["due"], [each["late"] for each in one["submissions"]]) == (show_time(due), [late])
        other = {"student1": "student2", "student2": "student1"}[login]
        assert other not in json.dumps(one)
    for login in ("student3", "mentor1", "teacher", "operator"):
        [one] = await service.assignments(login)
        assert one["submissions"] == []
        assert "student" not in json.dumps(one)
    stranger = await service.get("stranger")
    assert (stranger.status_code, stranger.json()["message"]) == (403, "Permission denied")


@pytest.mark.parametrize("policy", ["on_release"])
async def test_feedback_and_score_are_shown_once_they_are_released(service: Service) -> None:
    sent = service.store.submit("camp", "one", "student1", NOTEBOOK)
    pages = {"warm-up.html": b"<p>"}
    service.store.put_feedback(sent, pages, released=False, score=1, max_score=2)
    [before] = (await service.assignments("student1"))[0]["submissions"]
    assert (before["score"], before["max_score"], before["feedback"]) == (None, None, [])
    service.store.put_feedback(sent, pages, released=True, score=1.5, max_score=2)
    [after] = (await service.assignments("student1"))[0]["submissions"]
    assert (after["score"], after["max_score"]) == (1.5, 2)
    assert [file["path"] for file in after["feedback"]] == ["warm-up.html"]
    service.store.put_feedback(sent, pages, released=False, score=2, max_score=2)
    assert (await service.assignments("student1"))[0]["submissions"] == [after], "a grading again hides nothing"
    path = f"{PREFIX}/api/feedback/camp/one/student1?list_only=true&timestamp={show_time(sent.received)}"
    assert [file["path"] for file in (await service.get("student1", path)).json()["files"]] == ["warm-up.html"]
    assert (await service.get("teacher", path)).json()["files"] == []
    service.store.put_feedback(sent, pages, released=True, score=2, max_score=2)
    [newest] = (await service.assignments("student1"))[0]["submissions"]
    assert newest["score"] == 2


HOUR = timedelta(hours=1)
GRADED: dict[str, Any] = {"released": False, "score": 1.5, "max_score": 2}
PAGES = {"warm-up.html": b"<p>1.5 of 2"}


class Seen(NamedTuple):
    """What a student is told of a submission, in the two places that tell anything."""

    opens: str
    score: float | None
    listed: list[str]
    fetched: list[str]


async def seen(service: Service, login: str, submission: Submission) -> Seen:
    [one] = await service.assignments(login)
    [told] = one["submissions"]
    path = f"{PREFIX}/api/feedback/camp/one/{login}?timestamp={show_time(submission.received)}"
    fetched = (await service.get(login, path)).json()["files"]
    everything = json.dumps([one, fetched])
    assert ("1.5" in everything) == (told["score"] is not None), "the score is nowhere else"
    return Seen(
        one["feedback_opens"], told["score"], *([file["path"] for file in each] for each in (told["feedback"], fetched))
    )


def hidden(opens: str) -> Seen:
    return Seen(opens, None, [], [])


OPEN = Seen("now", 1.5, ["warm-up.html"], ["warm-up.html"])


@pytest.mark.parametrize("policy", ["after_deadline"])
async def test_feedback_opens_by_itself_when_the_students_own_deadline_has_passed(service: Service) -> None:
    service.deadlines.put("camp", "one", NOON + HOUR, by="teacher")
    service.deadlines.put("camp", "one", NOON + 2 * HOUR, by="teacher", student="student2")
    first, second = (service.store.submit("camp", "one", login, NOTEBOOK) for login in ("student1", "student2"))
    for sent in (first, second):
        service.store.put_feedback(sent, PAGES, **GRADED)
    assert await seen(service, "student1", first) == hidden("after_deadline")
    service.now = NOON + HOUR
    assert await seen(service, "student1", first) == hidden("after_deadline"), "the very moment is in time"
    service.now += timedelta(microseconds=1)
    assert await seen(service, "student1", first) == OPEN
    assert await seen(service, "student2", second) == hidden("after_deadline")
    service.now += HOUR
    assert await seen(service, "student2", second) == OPEN
    service.deadlines.put("camp", "one", NOON + 3 * HOUR, by="teacher")
    assert await seen(service, "student1", first) == hidden("after_deadline"), "there is time again"


@pytest.mark.parametrize("policy", ["after_deadline"])
async def test_without_a_deadline_feedback_waits_for_a_release_and_says_so(service: Service) -> None:
    sent = service.store.submit("camp", "one", "student1", NOTEBOOK)
    service.store.put_feedback(sent, PAGES, **GRADED)
    service.now += 1000 * HOUR
    assert await seen(service, "student1", sent) == hidden("on_release")
    service.store.put_feedback(sent, PAGES, **{**GRADED, "released": True})
    assert await seen(service, "student1", sent) == OPEN._replace(opens="on_release")


@pytest.mark.parametrize("policy", ["on_release"])
async def test_a_deadline_opens_nothing_where_a_teacher_has_to(service: Service) -> None:
    service.deadlines.put("camp", "one", NOON - HOUR, by="teacher")
    sent = service.store.submit("camp", "one", "student1", NOTEBOOK)
    service.store.put_feedback(sent, PAGES, **GRADED)
    assert await seen(service, "student1", sent) == hidden("on_release")


async def test_feedback_of_before_is_shown_when_the_class_changes_to_now(service: Service) -> None:
    sent = service.store.submit("camp", "one", "student1", NOTEBOOK)
    service.store.put_feedback(sent, PAGES, **GRADED)
    assert await seen(service, "student1", sent) == OPEN


async def test_feedback_on_an_earlier_version_stays_when_a_correction_renames_a_notebook(service: Service) -> None:
    sent = service.store.submit("camp", "one", "student1", NOTEBOOK)
    service.store.put_feedback(sent, {"warm-up.html": b"<p>", "solution.html": b"<p>"}, released=True)
    service.store.release("camp", "one", {"renamed.ipynb": b"{}"}, by="teacher", again=True)
    [one] = await service.assignments("student1")
    assert (one["version"], one["files"]) == (2, ["renamed.ipynb"])
    assert [file["path"] for file in one["submissions"][0]["feedback"]] == ["warm-up.html"]
    path = f"{PREFIX}/api/feedback/camp/one/student1?list_only=true&timestamp={show_time(sent.received)}"
    assert [file["path"] for file in (await service.get("student1", path)).json()["files"]] == ["warm-up.html"]


async def test_a_hidden_assignment_and_another_course_are_not_in_it(service: Service) -> None:
    service.store.release("camp", "two", NOTEBOOK, by="teacher")
    service.store.submit("camp", "two", "student1", NOTEBOOK)
    service.store.hide_assignment("camp", "two")
    assert [one["name"] for one in await service.assignments("student1")] == ["one"]
    assert (await service.get("student1", PATH.replace("camp", "other"))).status_code == 404


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that runs meanwhile."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith(("SELECT", "INSERT", "UPDATE")):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_it_takes_the_same_few_statements_however_much_there_is(service: Service) -> None:
    with statements() as few:
        assert len(await service.assignments("student1")) == 1
    for number in range(10):
        service.store.release("camp", f"more {number}", NOTEBOOK, by="teacher")
        for _ in range(3):
            sent = service.store.submit("camp", f"more {number}", "student1", NOTEBOOK)
            service.store.put_feedback(sent, NOTEBOOK, released=True)
    with statements() as many:
        listed = await service.assignments("student1")
    assert sum(len(one["submissions"]) for one in listed) == 30
    assert len(many) == len(few) + 2 <= 6  # two more to know one's place among those that wait
