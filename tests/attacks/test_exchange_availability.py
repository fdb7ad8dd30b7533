"""What is made to be too much: for the memory, the disk, the grader, the hub. The others do not notice."""

from __future__ import annotations

import base64
import io
import json
import os
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from nbgrader.exchange import ExchangeError

from gpuclass.exchange.service.identity import REMEMBERED, Identity
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import Store
from tests.attacks.raw import kept
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree, user
from tests.exchange.streaming import send
from tests.exchange.test_client import Desk, write


@pytest.fixture
def student(camp: Camp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(camp, "student1", tmp_path / "student1", monkeypatch)


@pytest.mark.slow
def test_a_sparse_terabyte_is_left_out_at_once_and_the_notebook_is_sent(
    student: Desk, camp: Camp, assignment: str
) -> None:
    folder = student.folder / assignment
    write(folder, {**NOTEBOOK, "data.bin": b""})
    os.truncate(folder / "data.bin", 2**40)
    begin = time.monotonic()
    student.do("Submit", assignment)
    assert time.monotonic() - begin < 10
    assert [entry["files"] for entry in kept(camp, assignment)] == [NOTEBOOK]
    os.truncate(folder / "warm-up.ipynb", 2**40)
    with pytest.raises(ExchangeError, match="Not submitted"):
        student.do("Submit", assignment)
    assert len(kept(camp, assignment)) == 1


@pytest.mark.slow
def test_a_hundred_thousand_files_are_refused_with_the_number_and_not_read(
    student: Desk, camp: Camp, assignment: str
) -> None:
    folder = student.folder / assignment
    write(folder, NOTEBOOK)
    for number in range(20_000):  # as good: reading ends at the limit
        (folder / f"{number}.txt").touch()
    begin = time.monotonic()
    with pytest.raises(ExchangeError, match="may have 100"):
        student.do("Submit", assignment)
    assert time.monotonic() - begin < 10
    assert kept(camp, assignment) == []


@pytest.mark.slow
def test_a_zip_bomb_stays_what_it_is(camp: Camp, assignment: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bomb:
        bomb.writestr("zeros", bytes(50_000_000))
    receipt = send(camp.by("student1"), assignment, {"bomb.zip": packed.getvalue()}).json()
    assert receipt["size"] == len(packed.getvalue()) < 100_000
    with Store(camp.settings.exchange_folder) as store:
        store.write_files(store.submission(receipt["submission"]), tmp_path / "written")
    assert (tmp_path / "written" / "bomb.zip").stat().st_size == receipt["size"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "files",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        json.dumps([{"path": "a", "content": "A" * 1_000_001}]),
        json.dumps([{"path": "a", "content": "\u2028" * 100_000}]),
        json.dumps([{"path": "a" * 2_000_000, "content": ""}]),
        json.dumps([{"path": "a/" * 100_000, "content": ""}]),
        json.dumps([{"path": "\ud800", "content": ""}]),
        json.dumps([{"path": str(number), "content": ""} for number in range(100_000)]),
        '[{"path": "a", "content": ""' + ', "x": 1' * 100_000 + "}]",
        "9" * 100_000,
        "NaN",
    ],
    ids=lambda text: str(text)[:12],
)
def test_json_made_to_hurt_is_refused_while_others_submit(camp: Camp, assignment: str, files: str) -> None:
    begin = time.monotonic()
    answer = camp.by("student1").post(f"api/submission/camp/{assignment}", data={"files": files})
    assert answer.status_code in (400, 413), answer.text[:200]
    assert answer.json()["success"] is False
    assert len(answer.content) < 10_000, "what was sent is not sent back"
    assert send(camp.by("student2"), assignment, NOTEBOOK).is_success
    assert time.monotonic() - begin < 10
    assert [entry["student"] for entry in kept(camp, assignment)] == ["student2"]


@pytest.mark.slow
def test_one_line_of_nearly_the_limit_is_a_file_like_any_other(camp: Camp, assignment: str) -> None:
    line = b'{"cells": ["' + b"x" * 24_000_000 + b'"]}'
    assert send(camp.by("student1"), assignment, {"long.ipynb": line}).is_success
    too_long = send(camp.by("student1"), assignment, {"long.ipynb": line + b" " * 6_000_000})
    assert (too_long.status_code, too_long.json()["success"]) == (413, False)


@pytest.mark.slow
@pytest.mark.parametrize("files", [{}, {f"{number}": b"" for number in range(10)}, {"large.bin": b"x" * 15_000}])
def test_nothing_tiny_or_empty_gets_around_the_room_that_one_student_has(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """Files, folders and rows are counted by what they take on the disk, also for content that is there already."""
    with running(tmp_path, student_limit="40K", per_minute=1000) as camp:
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)})
        answers = Counter(send(camp.by("student1"), "one", files).status_code for _ in range(15))
        form = {"files": tree(files)}
        answers += Counter(
            camp.by("student1").post("api/submission/camp/one", data=form).status_code for _ in range(15)
        )
        assert set(answers) <= {200, 400, 413}
        assert answers[413] > 0
        assert len(kept(camp, "one")) <= 10
        assert send(camp.by("student2"), "one", NOTEBOOK).is_success


@pytest.mark.slow
@pytest.mark.parametrize("number", ["0", "-1", "9" * 30, "1e9", "%00", "1;drop table jobs", "../1", "١"])
def test_no_number_of_a_job_is_a_fault_of_the_services(camp: Camp, number: str) -> None:
    for login in ("teacher", "student1"):
        answer = camp.by(login).get(f"gpuclass/v1/grading/jobs/{number}")
        assert answer.status_code in (400, 403, 404)


@pytest.mark.slow
def test_half_a_character_in_a_name_is_refused(camp: Camp) -> None:
    person = {"username": "x", "first_name": "\ud800", "last_name": "", "email": ""}
    for key in person:
        entry = {**dict.fromkeys(person, "x"), key: "\ud800"}
        answer = camp.by("teacher").post("api/students/camp", data={"students": json.dumps([entry])})
        assert answer.status_code == 400


# The hub


async def test_a_flood_of_guessed_tokens_makes_the_service_forget_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the hub is away those whom it knew go on; guesses must not push them out before."""
    down = False

    def hub(request: httpx.Request) -> httpx.Response:
        if down:
            return httpx.Response(503)
        known = request.headers["Authorization"] == "token good"
        return httpx.Response(200, json=user("student1")) if known else httpx.Response(403)

    now = 0.0
    identity = Identity("http://hub/hub/api", clock=lambda: now, transport=httpx.MockTransport(hub))
    assert await identity.login("good") == "student1"
    for number in range(REMEMBERED + 100):
        assert await identity.login(f"guess{number}") is None
    down, now = True, 60.0
    assert await identity.login("good") == "student1"
    await identity.close()


# The grader


class Clock:
    """A second later each time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "exchange", Clock()) as store:
        with store.writing() as session:
            session.add(CourseRow(name="camp", created=store.clock()))
        for assignment in ("one", "two"):
            store.release("camp", assignment, NOTEBOOK, by="teacher")
        yield store


def graded(store: Store) -> str:
    """Whose submission is graded next."""
    job = store.claim()
    assert job is not None
    store.finish(job.id)
    return job.student


def test_the_class_does_not_wait_for_one_who_submits_all_the_time(queue: Store) -> None:
    for number in range(30):
        queue.submit("camp", ("one", "two")[number % 2], "busy", {"n.txt": str(number).encode()})
    assert graded(queue) == "busy"
    others = [f"student{number}" for number in range(5)]
    for login in others:
        queue.submit("camp", "one", login, NOTEBOOK)
    assert [graded(queue) for _ in others] == others
    queue.submit("camp", "one", "student1", NOTEBOOK)
    assert [graded(queue) for _ in range(3)] == ["busy", "student1", "busy"]
    assert [graded(queue) for _ in range(27)] == ["busy"] * 27, "and everything is graded in the end"
    assert queue.claim() is None


def test_base64_is_measured_before_it_is_decoded(camp: Camp, assignment: str) -> None:
    limit = camp.settings.exchange.submission_limit
    text = base64.b64encode(bytes(3 * 2**20)).decode() * (limit // 2**21)
    answer = camp.by("student1").post(
        f"api/submission/camp/{assignment}", files={"files": (None, json.dumps([{"path": "a", "content": text}]))}
    )
    assert answer.status_code == 413
    assert kept(camp, assignment) == []
