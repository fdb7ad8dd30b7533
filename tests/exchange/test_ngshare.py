"""ngshare's REST API: paths, fields, status codes and words of its docs/api."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.exchange.conftest import NOTEBOOK, Camp, tree

pytestmark = pytest.mark.slow

DENIED = (403, {"success": False, "message": "Permission denied"})
PERSON = {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.org"}


def outcome(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.json()


def failed(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"success": False, "message": message}


def encoded(files: dict[str, bytes]) -> list[dict[str, str]]:
    return [
        {
            "path": path,
            "content": base64.b64encode(content).decode(),
            "checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        }
        for path, content in sorted(files.items())
    ]


def submit(camp: Camp, assignment: str, login: str = "student1", files: dict[str, bytes] = NOTEBOOK) -> str:
    answer = camp.by(login).post(f"api/submission/camp/{assignment}", data={"files": tree(files)})
    assert answer.status_code == 200, answer.text
    timestamp: str = answer.json()["timestamp"]
    return timestamp


def test_courses_are_those_one_takes_or_teaches(camp: Camp) -> None:
    for login in ("student1", "mentor1", "teacher", "operator"):
        assert outcome(camp.by(login).get("api/courses")) == (200, {"success": True, "courses": ["camp"]})
    assert outcome(camp.by("stranger").get("api/courses")) == (200, {"success": True, "courses": []})


def test_an_admin_makes_a_course_once_with_its_instructors(camp: Camp) -> None:
    operator = camp.by("operator")
    made = operator.post("api/course/NBG 101", data={"instructors": '["teacher"]'})
    assert outcome(made) == (200, {"success": True})
    assert outcome(operator.post("api/course/NBG 101")) == failed(409, "Course already exists")
    assert [
        person["username"] for person in camp.by("teacher").get("api/instructors/NBG 101").json()["instructors"]
    ] == ["teacher"]
    assert outcome(operator.delete("api/course/NBG 101")) == (200, {"success": True})
    assert outcome(operator.get("api/instructors/NBG 101")) == failed(404, "Course not found")


def test_instructors_of_a_course_must_be_json(camp: Camp) -> None:
    answer = camp.by("operator").post("api/course/bad", data={"instructors": "teacher"})
    assert outcome(answer) == failed(400, "Instructors cannot be JSON decoded")


@pytest.mark.parametrize("login", ["student1", "mentor1", "teacher"])
def test_only_admins_make_and_delete_courses(camp: Camp, login: str) -> None:
    assert outcome(camp.by(login).post("api/course/mine")) == DENIED
    assert outcome(camp.by(login).delete("api/course/camp")) == DENIED


def test_the_roster_fills_the_course(camp: Camp) -> None:
    students = camp.by("teacher").get("api/students/camp").json()["students"]
    logins = {person["username"] for person in students}
    assert {"student1", "student2", "mentor1"} <= logins
    assert not {"teacher", "operator"} & logins
    assert students[0] == {"username": "student1", "first_name": "김하늘", "last_name": None, "email": None}
    assert outcome(camp.by("student1").get("api/instructor/camp/teacher")) == (
        200,
        {"success": True, "username": "teacher", "first_name": "정선생", "last_name": None, "email": None},
    )


def test_an_instructor_adds_changes_and_removes_a_student(camp: Camp) -> None:
    teacher = camp.by("teacher")
    assert outcome(teacher.get("api/student/camp/guest")) == failed(404, "Student not found")
    assert outcome(teacher.post("api/student/camp/guest", data=PERSON)) == (200, {"success": True})
    assert outcome(teacher.get("api/student/camp/guest")) == (200, {"success": True, "username": "guest", **PERSON})
    assert camp.by("guest").get("api/assignments/camp").status_code == 200
    assert outcome(teacher.delete("api/student/camp/guest")) == (200, {"success": True})
    assert outcome(camp.by("guest").get("api/assignments/camp")) == DENIED


def test_a_student_of_the_roster_can_be_removed_and_added_again(camp: Camp) -> None:
    teacher = camp.by("teacher")
    assert teacher.delete("api/student/camp/student3").status_code == 200
    assert outcome(camp.by("student3").get("api/assignments/camp")) == DENIED
    assert teacher.post("api/student/camp/student3", data=PERSON).status_code == 200
    assert camp.by("student3").get("api/assignments/camp").status_code == 200


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("first_name", "Please supply first name"),
        ("last_name", "Please supply last name"),
        ("email", "Please supply email"),
    ],
)
def test_a_student_needs_all_names(camp: Camp, missing: str, message: str) -> None:
    fields = {key: value for key, value in PERSON.items() if key != missing}
    assert outcome(camp.by("teacher").post("api/student/camp/guest", data=fields)) == failed(400, message)


def test_an_instructor_is_not_added_as_a_student(camp: Camp) -> None:
    answer = camp.by("teacher").post("api/student/camp/teacher", data=PERSON)
    assert outcome(answer) == failed(409, "Cannot add instructor as student")


def test_students_are_added_together_and_each_has_a_status(camp: Camp) -> None:
    entries = [{"username": name, **PERSON} for name in ("guest1", "teacher", "../guest")]
    status = camp.by("teacher").post("api/students/camp", data={"students": json.dumps(entries)}).json()["status"]
    assert [item["success"] for item in status] == [True, False, False]
    assert status[1] == {"username": "teacher", "success": False, "message": "Cannot add instructor as student"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Please supply students"),
        ({"students": "{"}, "Students cannot be JSON decoded"),
        ({"students": "[" * 100_000}, "Students cannot be JSON decoded"),
        ({"students": '[{"username": "guest"}]'}, "Incorrect request format"),
        ({"students": '"guest"'}, "Incorrect request format"),
    ],
)
def test_a_list_of_students_that_is_none_is_refused(camp: Camp, fields: dict[str, str], message: str) -> None:
    assert outcome(camp.by("teacher").post("api/students/camp", data=fields)) == failed(400, message)


def test_an_admin_makes_a_student_an_instructor_and_removes_her(camp: Camp) -> None:
    operator = camp.by("operator")
    camp.by("teacher").post("api/student/camp/assistant", data=PERSON)
    assert outcome(operator.post("api/instructor/camp/assistant", data=PERSON)) == (200, {"success": True})
    assert outcome(operator.get("api/student/camp/assistant")) == failed(404, "Student not found")
    assert camp.by("assistant").get("api/students/camp").status_code == 200
    assert outcome(operator.delete("api/instructor/camp/assistant")) == (200, {"success": True})
    assert outcome(operator.delete("api/instructor/camp/assistant")) == failed(404, "Instructor not found")
    assert outcome(operator.post("api/instructor/camp/x", data={})) == failed(400, "Please supply first name")
    no_mail = {"first_name": "a", "last_name": "b"}
    assert outcome(operator.post("api/instructor/camp/x", data=no_mail)) == failed(400, "Please supply email name")


def test_an_instructor_changes_only_their_own_name(camp: Camp) -> None:
    teacher = camp.by("teacher")
    assert outcome(teacher.post("api/instructor/camp/other", data=PERSON)) == DENIED
    assert outcome(teacher.post("api/instructor/camp/teacher", data=PERSON)) == (200, {"success": True})
    assert teacher.get("api/instructor/camp/teacher").json()["first_name"] == "Ada"


@pytest.mark.parametrize("login", ["student1", "mentor1", "stranger"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "api/instructor/camp/student1"),
        ("DELETE", "api/instructor/camp/teacher"),
        ("POST", "api/student/camp/student2"),
        ("GET", "api/student/camp/student2"),
        ("DELETE", "api/student/camp/student2"),
        ("POST", "api/students/camp"),
        ("GET", "api/students/camp"),
        ("POST", "api/assignment/camp/new"),
        ("DELETE", "api/assignment/camp/new"),
        ("GET", "api/submissions/camp/new"),
        ("GET", "api/submissions/camp/new/student2"),
        ("GET", "api/submission/camp/new/student1"),
        ("POST", "api/feedback/camp/new/student1"),
        ("GET", "api/feedback/camp/new/student2"),
        ("PUT", "gpuclass/v1/assignment/camp/new"),
        ("POST", "gpuclass/v1/grading/camp/new/student1"),
    ],
)
def test_what_is_the_instructors_or_anothers_is_denied(camp: Camp, login: str, method: str, path: str) -> None:
    assert outcome(camp.by(login).request(method, path)) == DENIED


def test_an_assignment_is_released_listed_and_fetched(camp: Camp) -> None:
    files = {"파이썬 1.ipynb": b"{}", "data/points.csv": bytes(range(256))}
    teacher, student = camp.by("teacher"), camp.by("student1")
    assert outcome(teacher.post("api/assignment/camp/과제 1", data={"files": tree(files)})) == (200, {"success": True})
    assert "과제 1" in student.get("api/assignments/camp").json()["assignments"]
    assert outcome(student.get("api/assignment/camp/과제 1")) == (200, {"success": True, "files": encoded(files)})
    listed = student.get("api/assignment/camp/과제 1", params={"list_only": "true"}).json()["files"]
    assert listed == [{"path": e["path"], "checksum": e["checksum"]} for e in encoded(files)]


def test_a_released_assignment_is_there_already(camp: Camp, assignment: str) -> None:
    answer = camp.by("teacher").post(f"api/assignment/camp/{assignment}", data={"files": tree(NOTEBOOK)})
    assert outcome(answer) == failed(409, "Assignment already exists")


def test_delete_hides_and_a_new_release_brings_the_submissions_back(camp: Camp, assignment: str) -> None:
    timestamp = submit(camp, assignment)
    teacher = camp.by("teacher")
    assert outcome(teacher.delete(f"api/assignment/camp/{assignment}")) == (200, {"success": True})
    assert outcome(teacher.get(f"api/submissions/camp/{assignment}")) == failed(404, "Assignment not found")
    teacher.post(f"api/assignment/camp/{assignment}", data={"files": tree(NOTEBOOK)})
    assert teacher.get(f"api/submissions/camp/{assignment}").json()["submissions"] == [
        {"student_id": "student1", "timestamp": timestamp}
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Please supply files"),
        ({"files": "["}, "Files cannot be JSON decoded"),
        ({"files": "{}"}, "Files cannot be JSON decoded"),
        ({"files": "[" * 100_000}, "Files cannot be JSON decoded"),
        ({"files": '[{"path": "a"}]'}, "Files cannot be JSON decoded"),
        ({"files": '[{"path": "a", "content": 1}]'}, "Files cannot be JSON decoded"),
        ({"files": '[{"path": "a", "content": "%%%"}]'}, "Content cannot be base64 decoded"),
        ({"files": '[{"path": "a", "content": "가"}]'}, "Content cannot be base64 decoded"),
        ({"files": '[{"path": "../a", "content": ""}]'}, "Illegal path"),
        ({"files": '[{"path": "/a", "content": ""}]'}, "Illegal path"),
        ({"files": '[{"path": "a\\u0000", "content": ""}]'}, "Illegal path"),
        ({"files": '[{"path": "\\ud800", "content": ""}]'}, "Illegal path"),
        ({"files": '[{"path": "A", "content": ""}, {"path": "a", "content": ""}]'}, "Illegal path"),
    ],
)
def test_files_that_are_none_are_refused(camp: Camp, assignment: str, fields: dict[str, str], message: str) -> None:
    answer = camp.by("student1").post(f"api/submission/camp/{assignment}", data=fields)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert camp.by("teacher").get(f"api/submissions/camp/{assignment}").json()["submissions"] == []


@pytest.mark.parametrize("way", ["urlencoded", "multipart"])
def test_a_submission_comes_back_whole_however_the_form_is_sent(camp: Camp, assignment: str, way: str) -> None:
    files = {"노트.ipynb": b"\xff+/=&%" * 500_000, "a b.txt": b""}
    sent: dict[str, Any] = {"data": {"files": tree(files)}}
    if way == "multipart":
        sent = {"files": {"files": (None, tree(files))}}
    receipt = camp.by("student1").post(f"api/submission/camp/{assignment}", **sent).json()
    assert receipt["success"]
    assert receipt["size"] == 3_000_000
    got = camp.by("teacher").get(f"api/submission/camp/{assignment}/student1")
    assert outcome(got) == (200, {"success": True, "timestamp": receipt["timestamp"], "files": encoded(files)})


def test_submissions_are_listed_with_the_servers_time(camp: Camp, assignment: str) -> None:
    first, other = submit(camp, assignment), submit(camp, assignment, "student2")
    second = submit(camp, assignment)
    own = [{"student_id": "student1", "timestamp": first}, {"student_id": "student1", "timestamp": second}]
    path = f"api/submissions/camp/{assignment}"
    assert camp.by("student1").get(f"{path}/student1").json() == {"success": True, "submissions": own}
    assert camp.by("teacher").get(path).json()["submissions"] == [
        own[0],
        {"student_id": "student2", "timestamp": other},
        own[1],
    ]
    assert first < second
    assert first.endswith(" UTC")


def test_a_submission_is_found_by_its_timestamp(camp: Camp, assignment: str) -> None:
    first = submit(camp, assignment, files={"a.txt": b"first"})
    submit(camp, assignment, files={"a.txt": b"second"})
    teacher, path = camp.by("teacher"), f"api/submission/camp/{assignment}/student1"
    assert teacher.get(path).json()["files"] == encoded({"a.txt": b"second"})
    assert teacher.get(path, params={"timestamp": first}).json()["files"] == encoded({"a.txt": b"first"})
    unknown = teacher.get(path, params={"timestamp": "1999-01-01 00:00:00.000000 UTC"})
    assert outcome(unknown) == failed(404, "Submission not found")
    assert outcome(teacher.get(path, params={"timestamp": "noon"})) == failed(400, "Time format incorrect")


def test_what_is_not_there_is_not_found(camp: Camp, assignment: str) -> None:
    teacher = camp.by("teacher")
    for path, message in (
        ("api/assignments/other", "Course not found"),
        ("api/assignment/camp/other", "Assignment not found"),
        ("api/submissions/camp/other", "Assignment not found"),
        (f"api/submissions/camp/{assignment}/nobody", "Student not found"),
        (f"api/submission/camp/{assignment}/nobody", "Student not found"),
        (f"api/submission/camp/{assignment}/student2", "Submission not found"),
        (f"api/feedback/camp/{assignment}/nobody", "Student not found"),
    ):
        assert outcome(teacher.get(path)) == failed(404, message)
    assert outcome(camp.by("student1").post("api/submission/camp/other")) == failed(404, "Assignment not found")
    late = camp.by("student1").post("api/submission/camp/other", data={"files": tree(NOTEBOOK)})
    assert outcome(late) == failed(404, "Assignment not found")


def test_submissions_of_a_student_who_left_stay_visible(camp: Camp, assignment: str) -> None:
    teacher = camp.by("teacher")
    teacher.post("api/student/camp/leaver", data=PERSON)
    timestamp = submit(camp, assignment, "leaver")
    teacher.delete("api/student/camp/leaver")
    assert teacher.get(f"api/submission/camp/{assignment}/leaver").json()["timestamp"] == timestamp


def test_feedback_reaches_its_student_and_nobody_else(camp: Camp, assignment: str) -> None:
    timestamp = submit(camp, assignment)
    teacher, student, path = camp.by("teacher"), camp.by("student1"), f"api/feedback/camp/{assignment}/student1"
    none_yet = student.get(path, params={"timestamp": timestamp})
    assert outcome(none_yet) == (200, {"success": True, "timestamp": timestamp, "files": []})
    for text in (b"<p>first", b"<p>second"):
        fields = {"timestamp": timestamp, "files": tree({"warm-up.html": text})}
        assert outcome(teacher.post(path, data=fields)) == (200, {"success": True})
    got = student.get(path, params={"timestamp": timestamp}).json()
    assert got["files"] == encoded({"warm-up.html": b"<p>second"})
    assert outcome(camp.by("student2").get(path, params={"timestamp": timestamp})) == DENIED


def test_students_are_given_pages_of_known_notebooks_only(camp: Camp, assignment: str) -> None:
    timestamp = submit(camp, assignment)
    teacher, student, path = camp.by("teacher"), camp.by("student1"), f"api/feedback/camp/{assignment}/student1"
    others = {"evil.html": b"<script>", "warm-up.ipynb": b"tests", "run.js": b"", "sub/warm-up.html": b"", "a": b""}
    files = tree({"warm-up.html": b"<p>good", **others})
    assert teacher.post(path, data={"timestamp": timestamp, "files": files}).status_code == 200
    got = student.get(path, params={"timestamp": timestamp}).json()["files"]
    assert got == encoded({"warm-up.html": b"<p>good"})
    listed = student.get(path, params={"timestamp": timestamp, "list_only": "true"}).json()["files"]
    assert [file["path"] for file in listed] == ["warm-up.html"]
    items = student.get("gpuclass/v1/assignments/camp").json()["assignments"]
    [own] = next(item for item in items if item["name"] == assignment)["submissions"]
    assert [file["path"] for file in own["feedback"]] == ["warm-up.html"]
    kept = teacher.get(path, params={"timestamp": timestamp, "list_only": "true"}).json()["files"]
    assert len(kept) == 6, "ngshare's contract: an instructor gets back what was sent"


def test_feedback_needs_a_timestamp_and_files(camp: Camp, assignment: str) -> None:
    timestamp = submit(camp, assignment)
    teacher, path = camp.by("teacher"), f"api/feedback/camp/{assignment}/student1"
    assert outcome(teacher.post(path)) == failed(400, "Please supply timestamp")
    assert outcome(teacher.get(path)) == failed(400, "Please supply timestamp")
    assert outcome(teacher.get(path, params={"timestamp": "x"})) == failed(400, "Time format incorrect")
    assert outcome(teacher.post(path, data={"timestamp": timestamp})) == failed(400, "Please supply files")


def test_a_wrong_path_is_404_and_a_wrong_method_405(camp: Camp) -> None:
    assert outcome(camp.by("teacher").get("api/nothing")) == failed(404, "Not Found")
    assert outcome(camp.by("teacher").delete("api/courses")) == failed(405, "Method Not Allowed")


@pytest.mark.parametrize("name", ["a+b", ".hidden", "-rf", "a:b", "x" * 101])
def test_an_assignment_with_an_unsafe_name_is_not_made(camp: Camp, name: str) -> None:
    answer = camp.by("teacher").post(f"api/assignment/camp/{name}", data={"files": tree(NOTEBOOK)})
    assert answer.status_code == 400
    assert name not in camp.by("teacher").get("api/assignments/camp").json()["assignments"]
