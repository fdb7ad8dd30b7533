"""The teachers' endpoints to the grading service: how far it is, checks, and grading again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gpuclass.exchange.store.store import Store
from gpuclass.exchange.store.workers import Workers
from tests.exchange.conftest import NOTEBOOK, Camp, tree

pytestmark = pytest.mark.slow


def path(kind: str, *rest: object) -> str:
    return "/".join(["gpuclass/v1", kind, "camp", *map(str, rest)])


def test_a_teacher_has_an_assignment_checked_that_is_not_released_and_reads_the_report(camp: Camp) -> None:
    teacher = camp.by("teacher")
    number = teacher.post(path("check", "새 과제")).json()["check"]
    assert teacher.post(path("check", "새 과제")).json()["check"] == number, "one that waits is enough"
    asked = path("check", "새 과제", number)
    assert teacher.get(asked).json() == {"success": True, "state": "waiting", "report": None}
    report = {"differences": [{"grade_id": "test-add", "line": 3}]}
    with Store(camp.settings.exchange_folder) as store:  # as the worker does, in its own process
        claimed = store.claim_check()
        assert claimed is not None
        assert (claimed.assignment, claimed.requested_by) == ("새 과제", "teacher")
        assert teacher.get(asked).json()["state"] == "running"
        store.finish_check(number, report)
    assert teacher.get(asked).json() == {"success": True, "state": "done", "report": report}


@pytest.mark.parametrize("login", ["student1", "student2"])
def test_students_can_neither_ask_for_a_check_nor_read_one(camp: Camp, login: str) -> None:
    number = camp.by("teacher").post(path("check", "secret")).json()["check"]
    refused = [camp.by(login).post(path("check", "secret")), camp.by(login).get(path("check", "secret", number))]
    assert [answer.status_code for answer in refused] == [403, 403]


def test_a_check_is_found_under_its_own_assignment_only(camp: Camp) -> None:
    number = camp.by("teacher").post(path("check", "mine")).json()["check"]

    def status(answer: httpx.Response) -> tuple[int, Any]:
        return answer.status_code, answer.json().get("message")

    assert status(camp.by("teacher").get(path("check", "other", number))) == (404, "Check not found")
    assert status(camp.by("teacher").get(path("check", "mine", number + 1000))) == (404, "Check not found")
    assert camp.by("teacher").post(path("check", ".source")).status_code == 400


def test_a_teacher_sees_how_far_grading_is_and_whom_it_fails(camp: Camp, assignment: str) -> None:
    def submit(login: str) -> None:
        camp.by(login).post(f"api/submission/camp/{assignment}", data={"files": tree(NOTEBOOK)}).raise_for_status()

    def progress() -> Any:
        found = camp.by("teacher").get(path("grading")).json()
        mine = {
            key: [each for each in found[key] if each["assignment"] == assignment] for key in ("failing", "quarantined")
        }
        count = next(each for each in found["assignments"] if each["name"] == assignment)
        return {key: value for key, value in count.items() if value and key != "name"}, mine, found["worker"]

    submit("student1")
    submit("student1")  # of a student, the latest counts
    submit("student2")
    assert progress()[0] == {"submitted": 2, "waiting": 2}
    with Store(camp.settings.exchange_folder) as store:
        workers = Workers(store)
        run = workers.begin()
        while (job := store.claim()) is not None:
            if job.student == "student1":
                store.finish(job.id, error="no source version")
            else:
                store.finish(job.id, status="quarantined", result={"reason": "not JSON"})
        count, whom, worker = progress()
        workers.end(run)
    assert count == {"submitted": 2, "failed": 1, "quarantined": 1}
    [failing], [quarantined] = whom["failing"], whom["quarantined"]
    assert (failing["student"], failing["reason"]) == ("student1", "no source version")
    assert (quarantined["student"], quarantined["reason"]) == ("student2", "not JSON")
    assert worker["alive"]
    assert not progress()[2]["alive"]
    assert camp.by("student1").get(path("grading")).status_code == 403


def test_a_teacher_has_a_class_graded_again_and_sees_first_whose_score_changes(camp: Camp, assignment: str) -> None:
    teacher = camp.by("teacher")
    asked = path("regrade", assignment)
    assert teacher.post(asked).status_code == 404, "nothing was graded yet"
    for login in ("student1", "student2"):
        camp.by(login).post(f"api/submission/camp/{assignment}", data={"files": tree(NOTEBOOK)}).raise_for_status()
    before = {"score": 3.0, "max_score": 4.0, "cells": {"a": 3.0, "b": 0.0}}
    after = {"score": 1.0, "max_score": 4.0, "cells": {"a": 1.0, "b": 0.0}}

    def work() -> None:
        with Store(camp.settings.exchange_folder) as store:
            while (job := store.claim()) is not None:
                changes = job.student == "student1"
                result = {"before": before, "after": after if changes else before} if job.kind == "preview" else None
                store.finish(job.id, result=result)

    work()
    assert teacher.post(asked, files={"student": (None, "nobody")}).status_code == 404
    number = teacher.post(asked).json()["batch"]
    assert teacher.get(f"{asked}/{number}").json()["state"] == "previewing"
    early = teacher.post(f"{asked}/{number}/apply")
    assert (early.status_code, "still being tried out" in early.json()["message"]) == (409, True)
    work()
    shown = teacher.get(f"{asked}/{number}").json()
    assert shown == {
        "success": True,
        "state": "ready",
        "student": None,
        "source": None,
        "total": 2,
        "done": 2,
        "failed": 0,
        "changes": [
            {
                "student": "student1",
                "before": 3.0,
                "after": 1.0,
                "max_score": 4.0,
                "cells": [{"name": "a", "before": 3.0, "after": 1.0}],
            }
        ],
        "unchanged": 1,
        "failing": [],
    }
    for call in (f"{asked}/{number}", f"{asked}/{number}/apply", f"{asked}/{number}/cancel"):
        answer = camp.by("student1").post(call) if call.endswith(("apply", "cancel")) else camp.by("student1").get(call)
        assert answer.status_code == 403
    assert camp.by("student1").post(asked).status_code == 403
    assert teacher.post(path("regrade", "other", number, "apply")).status_code == 404
    assert teacher.post(f"{asked}/{number}/apply").json() == {"success": True}
    work()
    assert teacher.get(f"{asked}/{number}").json()["state"] == "applied"
    assert teacher.post(f"{asked}/{number}/cancel").status_code == 409
    one = teacher.post(asked, data={"student": "student2"}).json()["batch"]
    assert teacher.get(f"{asked}/{one}").json()["total"] == 1
    assert teacher.post(f"{asked}/{one}/cancel").json() == {"success": True}
    assert teacher.get(f"{asked}/{one}").json()["state"] == "cancelled"
