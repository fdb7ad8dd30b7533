"""The teachers' endpoints: deadlines, extensions, all submissions with how far they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gpuclass.exchange.store.store import Store
from gpuclass.exchange.wire import read_time
from tests.exchange.conftest import NOTEBOOK, Camp, tree

pytestmark = pytest.mark.slow

SIX = "2026-11-23 09:00:00.000000 UTC"


def put(camp: Camp, assignment: str, due: str, student: str = "", by: str = "teacher") -> httpx.Response:
    path = f"gpuclass/v1/deadline/camp/{assignment}" + (f"/{student}" if student else "")
    return camp.by(by).put(path, files={"due": (None, due)})


def deadline(camp: Camp, assignment: str, login: str = "teacher") -> Any:
    found = camp.by(login).get("gpuclass/v1/deadlines/camp").json()["deadlines"]
    return next((item for item in found if item["assignment"] == assignment), None)


def submit(camp: Camp, assignment: str, login: str) -> None:
    camp.by(login).post(f"api/submission/camp/{assignment}", data={"files": tree(NOTEBOOK)}).raise_for_status()


def submissions(camp: Camp, assignment: str) -> dict[str, Any]:
    found: dict[str, Any] = camp.by("teacher").get(f"gpuclass/v1/submissions/camp/{assignment}").json()
    return found


@pytest.mark.parametrize(
    "due", [SIX, "2026-11-23T18:00:00+09:00", "2026-11-23T09:00:00Z", "2026-11-23 18:00+0900"], ids=range(4)
)
def test_a_deadline_is_the_same_moment_in_whatever_zone_it_is_given(camp: Camp, assignment: str, due: str) -> None:
    assert deadline(camp, assignment) is None
    assert put(camp, assignment, due).json() == {
        "success": True,
        "assignment": assignment,
        "due": SIX,
        "extensions": {},
    }
    assert deadline(camp, assignment)["due"] == SIX


def test_a_form_in_percent_encoding_is_as_good(camp: Camp, assignment: str) -> None:
    camp.by("teacher").put(f"gpuclass/v1/deadline/camp/{assignment}", data={"due": SIX})
    assert deadline(camp, assignment)["due"] == SIX
    camp.by("teacher").put(f"gpuclass/v1/deadline/camp/{assignment}", data={"due": ""})
    assert deadline(camp, assignment)["due"] is None


@pytest.mark.parametrize(
    "due",
    ["soon", "2026-11-23T18:00:00", "2026-11-23 18:00 KST", "0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"],
    ids=range(5),
)
def test_a_time_without_a_zone_or_sense_is_refused_and_nothing_changes(camp: Camp, assignment: str, due: str) -> None:
    put(camp, assignment, SIX)
    answer = put(camp, assignment, due)
    assert (answer.status_code, answer.json()["message"]) == (400, "Time format incorrect")
    assert deadline(camp, assignment)["due"] == SIX
    missing = camp.by("teacher").put(f"gpuclass/v1/deadline/camp/{assignment}", data={"when": SIX})
    assert (missing.status_code, missing.json()["message"]) == (400, "Please supply due")


def test_a_student_sees_their_own_deadline_and_nobody_elses_extension(camp: Camp, assignment: str) -> None:
    put(camp, assignment, SIX)
    seven = "2026-11-23 10:00:00.000000 UTC"
    put(camp, assignment, seven, "student1")
    own = {"assignment": assignment, "extensions": {}}
    assert deadline(camp, assignment, "student1") == {**own, "due": seven}
    assert deadline(camp, assignment, "student2") == {**own, "due": SIX}
    assert deadline(camp, assignment)["extensions"] == {"student1": seven}
    put(camp, assignment, "", "student1")
    assert deadline(camp, assignment, "student1") == {**own, "due": SIX}


def test_a_hidden_assignments_deadline_is_the_teachers_to_see(camp: Camp, assignment: str) -> None:
    put(camp, assignment, SIX)
    camp.by("teacher").delete(f"api/assignment/camp/{assignment}")
    assert deadline(camp, assignment, "student1") is None
    assert deadline(camp, assignment)["due"] == SIX


def test_only_teachers_set_deadlines_and_only_for_what_there_is(camp: Camp, assignment: str) -> None:
    for login in ("student1", "mentor1"):
        assert put(camp, assignment, SIX, by=login).status_code == 403
        assert put(camp, assignment, SIX, login, by=login).status_code == 403
        assert camp.by(login).get(f"gpuclass/v1/submissions/camp/{assignment}").status_code == 403
    assert put(camp, "not released", SIX).json()["message"] == "Assignment not found"
    assert put(camp, assignment, SIX, "nobody").json()["message"] == "Student not found"
    assert deadline(camp, assignment) is None


def test_the_list_of_submissions_tells_who_is_late_by_the_deadline_as_it_is_now(camp: Camp, assignment: str) -> None:
    for login in ("student1", "student2"):
        submit(camp, assignment, login)
    now = datetime.now(UTC)
    put(camp, assignment, (now - timedelta(hours=1)).isoformat())
    put(camp, assignment, (now + timedelta(hours=1)).isoformat(), "student1")
    found = submissions(camp, assignment)
    assert [(entry["student_id"], entry["late"]) for entry in found["submissions"]] == [
        ("student1", False),
        ("student2", True),
    ]
    put(camp, assignment, (now + timedelta(hours=1)).isoformat())
    assert not any(entry["late"] for entry in submissions(camp, assignment)["submissions"])


def test_a_submission_at_the_very_moment_is_in_time_and_one_microsecond_after_is_late(
    camp: Camp, assignment: str
) -> None:
    submit(camp, assignment, "student1")
    [entry] = submissions(camp, assignment)["submissions"]
    received = read_time(entry["timestamp"])
    put(camp, assignment, received.isoformat())
    assert submissions(camp, assignment)["submissions"][0]["late"] is False
    put(camp, assignment, (received - timedelta(microseconds=1)).isoformat())
    assert submissions(camp, assignment)["submissions"][0]["late"] is True


def test_the_list_says_which_version_each_answers_whether_it_was_queued_and_how_far_it_is(
    camp: Camp, assignment: str
) -> None:
    submit(camp, assignment, "student1")
    files = {"files": (None, tree({"warm-up.ipynb": b"corrected"}))}
    camp.by("teacher").put(f"gpuclass/v1/assignment/camp/{assignment}", files=files)
    pressed = datetime(2026, 11, 23, 8, 59, 30, tzinfo=UTC)
    with Store(camp.settings.exchange_folder) as store:
        sent = store.submit("camp", assignment, "student2", NOTEBOOK, queued=pressed)
        store.put_feedback(sent, {}, released=False, score=3, max_score=4)
    found = submissions(camp, assignment)
    first, second = found["submissions"]
    assert found["version"] == 2
    assert (first["version"], first["queued"], first["state"], first["score"]) == (1, None, "waiting", None)
    assert (second["version"], second["queued"]) == (2, "2026-11-23 08:59:30.000000 UTC")
    assert (second["submission"], second["score"], second["max_score"]) == (sent.id, 3, 4)
