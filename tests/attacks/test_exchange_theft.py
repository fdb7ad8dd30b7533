"""Another's files, another's name, another time: what students may not read, write or claim."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuclass.exchange.store.store import Store
from tests.attacks.raw import kept
from tests.exchange.conftest import NOTEBOOK, Camp, tree, user
from tests.exchange.streaming import new_key, send
from tests.exchange.test_client import Desk, write
from tests.exchange.test_names import NASTY

pytestmark = pytest.mark.slow

Send = Callable[[Camp, str, dict[str, bytes]], httpx.Response]


def by_form(camp: Camp, assignment: str, files: dict[str, bytes]) -> httpx.Response:
    return camp.by("student1").post(f"api/submission/camp/{assignment}", data={"files": tree(files)})


def by_stream(camp: Camp, assignment: str, files: dict[str, bytes]) -> httpx.Response:
    return send(camp.by("student1"), assignment, files)


def everything(camp: Camp) -> set[Path]:
    """Every path around the exchange but those of its own database."""
    return {path for path in camp.settings.path.parent.rglob("*") if not path.name.startswith("exchange.")}


@pytest.mark.parametrize("door", [by_form, by_stream])
def test_no_name_leads_out_of_the_submission_or_onto_another_file(camp: Camp, assignment: str, door: Send) -> None:
    before = everything(camp)
    twins = [
        {"a.ipynb": b"", "A.IPYNB": b""},
        {"노트.ipynb": b"", unicodedata.normalize("NFD", "노트.ipynb"): b""},
        {"data": b"", "data/x": b""},
    ]
    for files in [*({name: b"planted"} for name, _ in NASTY), *twins]:
        answer = door(camp, assignment, files)
        assert answer.status_code == 400, files
        assert answer.json()["success"] is False
    assert kept(camp, assignment) == []
    assert everything(camp) == before


@pytest.mark.parametrize("door", [by_form, by_stream])
def test_a_submission_is_written_for_the_teacher_with_the_servers_time_whatever_it_holds(
    camp: Camp, assignment: str, door: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in the place of nbgrader's file for the time ended the worker and the teacher's collecting."""
    teacher = Desk(camp, "teacher", tmp_path / "course", monkeypatch)
    for own in ({"timestamp.txt": b"1999-01-01 00:00:00.000000 UTC"}, {"timestamp.txt/x": b""}):
        receipt = door(camp, assignment, {**NOTEBOOK, **own}).json()
        with Store(camp.settings.exchange_folder) as store:
            store.write_files(store.submission(receipt["submission"]), tmp_path / "written")
        teacher.do("Collect", assignment, update=True)
        for folder in (tmp_path / "written", teacher.folder / "submitted" / "student1" / assignment):
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
                **NOTEBOOK,
                "timestamp.txt": receipt["timestamp"].encode(),
            }


def test_a_planted_page_is_never_fetched_and_no_teacher_collects_a_link(
    camp: Camp, assignment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student's files with the names of feedback and of the grader's own do not become them."""
    planted = {"feedback/x/warm-up.html": b"<script>", "warm-up.html": b"<script>", "gradebook.db": b"", "x.pth": b""}
    assert by_stream(camp, assignment, {**NOTEBOOK, **planted}).is_success
    student = Desk(camp, "student1", tmp_path / "student1", monkeypatch)
    write(student.folder / assignment, NOTEBOOK)
    student.do("FetchFeedback", assignment)
    assert not list((student.folder / assignment).rglob("*.html"))
    teacher = Desk(camp, "teacher", tmp_path / "course", monkeypatch)
    teacher.do("Collect", assignment)
    collected = teacher.folder / "submitted" / "student1" / assignment
    assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in teacher.folder.rglob("*"))
    assert (collected / "gradebook.db").is_file()
    assert not (teacher.folder / "gradebook.db").exists()


def test_hard_links_devices_and_pipes_in_a_students_folder(
    camp: Camp, assignment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard link is a file of the student's own; what is none is left out, and nothing waits for a pipe."""
    student = Desk(camp, "student1", tmp_path / "student1", monkeypatch)
    folder = student.folder / assignment
    write(folder, NOTEBOOK)
    own = tmp_path / "own.txt"
    own.write_bytes(b"my own")
    os.link(own, folder / "linked.txt")
    os.mkfifo(folder / "pipe.ipynb")
    if os.geteuid() == 0:  # a student cannot make one; a test as root can
        os.mknod(folder / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    (folder / "socket").symlink_to("/dev/zero")
    student.do("Submit", assignment)
    [entry] = kept(camp, assignment)
    assert entry["files"] == {**NOTEBOOK, "linked.txt": b"my own"}


# Another's name


MAY = {
    "student": {
        "GET /api/courses",
        "GET /api/assignments/{course}",
        "GET /api/assignment/{course}/{assignment}",
        "POST /api/submission/{course}/{assignment}",
        "GET /api/instructors/{course}",
        "GET /api/instructor/{course}/{login}",
        "GET /gpuclass/v1/limits",
        "GET /gpuclass/v1/assignments/{course}",
        "GET /gpuclass/v1/deadlines/{course}",
        "POST /gpuclass/v1/submission/{course}/{assignment}",
        "GET /gpuclass/v1/health",
    },
    "outsider": {"GET /api/courses", "GET /gpuclass/v1/limits", "GET /gpuclass/v1/health"},
    "nobody": {"GET /gpuclass/v1/health"},
}


@pytest.mark.parametrize("who", MAY)
def test_what_is_not_expressly_for_students_is_refused_to_them(camp: Camp, assignment: str, who: str) -> None:
    """Every call of the API on another student's things; a new one is refused or has its place in ``MAY``."""
    headers = {
        "student": camp.by("student1").headers,
        "outsider": camp.by("somebody-of-another-course").headers,
        "nobody": httpx.Headers({"Authorization": "token guessed"}),
    }[who]
    secret = {"warm-up.ipynb": b"what student2 wrote"}
    receipt = send(camp.by("student2"), assignment, secret).json()
    with Store(camp.settings.exchange_folder) as store:
        sent = store.submission(receipt["submission"])
        store.put_feedback(sent, {"warm-up.html": b"for student2"}, released=True, score=3, max_score=4)
    fields = {"course": "camp", "assignment": assignment, "student": "student2", "login": "student2"}
    fields |= dict.fromkeys(("job_id", "check_id", "batch"), "1")
    found = set()
    with httpx.Client(headers=headers) as client:
        api = client.get(f"{camp.settings.exchange_url}/openapi.json").json()["paths"]
        before = kept(camp, assignment)
        for path, methods in api.items():
            url = str(camp.settings.exchange_url).removesuffix("/services/exchange") + path.format(**fields)
            for method in methods:
                name = f"{method.upper()} {path.removeprefix('/services/exchange')}"
                query = {"timestamp": receipt["timestamp"]}
                form = {"files": tree({"a": b""}), "due": "", "timestamp": receipt["timestamp"]}
                answer = client.request(
                    method, url, params=query, data=form if method != "get" else None,
                    headers={"Idempotency-Key": new_key()},
                )  # fmt: skip
                assert answer.status_code < 500, name
                assert "what student2 wrote" not in answer.text
                assert receipt["timestamp"] not in answer.text
                if answer.status_code not in (302, 403):
                    found.add(name)
        assert found == MAY[who]
    assert [entry for entry in kept(camp, assignment) if entry["student"] == "student2"] == before


def test_another_students_submission_or_feedback_is_not_found_by_guessing_its_time(camp: Camp, assignment: str) -> None:
    receipt = send(camp.by("student2"), assignment, NOTEBOOK).json()
    mine = send(camp.by("student1"), assignment, NOTEBOOK).json()
    with Store(camp.settings.exchange_folder) as store:
        store.put_feedback(store.submission(receipt["submission"]), {"warm-up.html": b"secret"}, released=True)
    student = camp.by("student1")
    query = {"timestamp": receipt["timestamp"]}
    assert student.get(f"api/feedback/camp/{assignment}/student1", params=query).status_code == 404
    for login in ("student2", "STUDENT2", "student2 ", "student1/../student2", "ｓtudent2", "student2%00"):
        assert student.get(f"api/feedback/camp/{assignment}/{login}", params=query).status_code in (403, 404)
        assert student.get(f"api/submissions/camp/{assignment}/{login}").status_code in (403, 404)
    own = student.get(f"api/feedback/camp/{assignment}/student1", params={"timestamp": mine["timestamp"]}).json()
    assert own["files"] == []


def test_a_submission_is_the_token_owners_whatever_the_manifest_and_headers_say(camp: Camp, assignment: str) -> None:
    claims: dict[str, Any] = {"student": "student2", "student_id": "student2", "timestamp": "1999-01-01", "late": False}
    old = {"Date": "Fri, 01 Jan 1999 00:00:00 GMT", "X-Forwarded-User": "student2"}
    client = camp.by("student1")
    client.headers.update(old)
    try:
        receipt = send(client, assignment, NOTEBOOK, **claims).json()
    finally:
        for name in old:
            del client.headers[name]
    assert receipt["timestamp"] > "2026"
    assert [entry["student"] for entry in kept(camp, assignment)] == ["student1"]


def test_what_is_shown_of_a_class_at_work_tells_nothing_of_the_others(camp: Camp, assignment: str) -> None:
    """Everything that a student may ask for is the same, byte for byte, before and after the others' work.

    But for the own place in line, a number that is there to say how much is before it.
    """
    student = camp.by("student1")
    send(student, assignment, NOTEBOOK)
    paths = ["api/courses", "api/assignments/camp", f"api/assignment/camp/{assignment}", "gpuclass/v1/limits",
             "gpuclass/v1/deadlines/camp", "gpuclass/v1/assignments/camp", "gpuclass/v1/health",
             f"api/submissions/camp/{assignment}/student1"]  # fmt: skip

    def seen() -> list[dict[str, Any]]:
        answers = [student.get(path).json() for path in paths]
        for item in answers[paths.index("gpuclass/v1/assignments/camp")]["assignments"]:
            for own in item["submissions"]:
                assert isinstance(own.pop("place"), int | None)
        return [{key: value for key, value in answer.items() if key != "now"} for answer in answers]

    before = seen()
    receipt = send(camp.by("student2"), assignment, {"other.ipynb": b"x"}).json()
    with Store(camp.settings.exchange_folder) as store:
        store.put_feedback(store.submission(receipt["submission"]), {"a.html": b""}, released=True, score=1)
    far = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    teacher = camp.by("teacher")
    due = {"due": far}
    assert teacher.put(f"gpuclass/v1/deadline/camp/{assignment}/student2", data=due).is_success
    assert seen() == before
    text = json.dumps(before, ensure_ascii=False)
    assert not any(other in text for other in ("student2", "student3", "이바다", "박구름"))


# Another's token


@pytest.mark.parametrize(
    ("owner", "status"),
    [
        (user("instructor-of-another-course"), 403),
        (user("teacher", ["access:services!service=grades"]), 302),
        (user("teacher", ["access:services!server=exchange"]), 302),
        (user("teacher", ["access:services!service=exchange/../other"]), 302),
        (user("teacher", ["read:users!user=teacher", "self"]), 302),
        (user("exchange", kind="service"), 302),
        ({**user("teacher"), "kind": "group"}, 302),
        ({**user("teacher"), "name": ""}, 403),
        ({**user("teacher"), "name": "../teacher"}, 403),
        ({**user("teacher"), "name": "teacher\0"}, 403),
        ({**user("teacher"), "name": "Teacher"}, 403),
    ],
)
def test_a_token_of_another_course_or_service_opens_nothing(
    camp: Camp, assignment: str, owner: dict[str, Any], status: int
) -> None:
    operator = camp.by("operator")
    operator.post("api/course/another", data={"instructors": '["instructor-of-another-course"]'})
    token = f"odd-{new_key()}"
    camp.hub.users[token] = owner
    with httpx.Client(base_url=f"{camp.settings.exchange_url}/", headers={"Authorization": f"token {token}"}) as client:
        for path in ("api/students/camp", f"api/submissions/camp/{assignment}", "gpuclass/v1/assignments/camp"):
            assert client.get(path).status_code == status
        refused = client.put(f"gpuclass/v1/assignment/camp/{assignment}", data={"files": tree({})})
        assert refused.status_code == status
        assert send(client, assignment, NOTEBOOK).status_code == status
    assert kept(camp, assignment) == []
