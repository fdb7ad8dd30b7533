"""The service beyond ngshare's contract: who is let in, what is too much, and what survives a kill."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuclass.exchange.service.app import PREFIX, create_app
from gpuclass.exchange.service.edge import DRAIN_LIMIT
from gpuclass.exchange.service.identity import Identity
from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import NOTEBOOK, SCOPE, Camp, HubDouble, import_roster, prepare, running, tree, user

pytestmark = pytest.mark.slow


def release(camp: Camp, assignment: str = "one") -> None:
    answer = camp.by("teacher").post(f"api/assignment/camp/{assignment}", data={"files": tree(NOTEBOOK)})
    assert answer.status_code == 200, answer.text


def submit(camp: Camp, files: dict[str, bytes], login: str = "student1", assignment: str = "one") -> httpx.Response:
    return camp.by(login).post(f"api/submission/camp/{assignment}", data={"files": tree(files)})


# Who


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "token wrong"}, {"Cookie": "jupyterhub-services=token-of-teacher"}]
)
def test_without_a_users_token_nobody_is_let_in(camp: Camp, headers: dict[str, str]) -> None:
    camp.by("teacher")
    for path in ("api/courses", "api/students/camp?token=token-of-teacher", "gpuclass/v1/limits?user=teacher"):
        answer = httpx.get(f"{camp.settings.exchange_url}/{path}", headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (302, "Login required")
        assert answer.headers["Location"].endswith("/hub/login")


@pytest.mark.parametrize(
    "owner",
    [
        user("teacher", kind="service"),
        user("teacher", []),
        user("teacher", ["access:services!service=other", "access:servers!user=teacher"]),
    ],
)
def test_a_service_or_a_token_without_the_scope_is_nobody(camp: Camp, owner: dict[str, Any]) -> None:
    token = f"odd-{len(camp.hub.users)}"
    camp.hub.users[token] = owner
    answer = httpx.get(f"{camp.settings.exchange_url}/api/students/camp", headers={"Authorization": f"token {token}"})
    assert answer.status_code == 302


def test_a_bearer_token_is_as_good(camp: Camp) -> None:
    camp.hub.users["bearer"] = user("student1", [SCOPE, "self"])
    answer = httpx.get(f"{camp.settings.exchange_url}/api/courses", headers={"Authorization": "Bearer bearer"})
    assert answer.json() == {"success": True, "courses": ["camp"]}


def test_a_submission_is_its_senders_whatever_the_form_says(camp: Camp, assignment: str) -> None:
    fields = {"files": tree(NOTEBOOK), "user": "student2", "student_id": "student2", "timestamp": "1999-01-01"}
    path = f"api/submission/camp/{assignment}?user=student2&timestamp=1999-01-01"
    stamp = camp.by("student1").post(path, data=fields).json()["timestamp"]
    listed = camp.by("teacher").get(f"api/submissions/camp/{assignment}").json()["submissions"]
    assert listed == [{"student_id": "student1", "timestamp": stamp}]
    assert stamp > "2026"


def test_while_the_hub_is_down_those_just_seen_go_on_and_others_are_told(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        release(camp)
        assert submit(camp, NOTEBOOK).status_code == 200
        camp.hub.down = True
        assert submit(camp, NOTEBOOK).status_code == 200
        stranger = submit(camp, NOTEBOOK, "student2")
        assert (stranger.status_code, stranger.headers["Retry-After"]) == (503, "5")
        assert "nothing was submitted" in stranger.json()["message"]


def test_the_hub_is_asked_once_for_many_requests(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        for _ in range(20):
            assert camp.by("student1").get("api/courses").status_code == 200
        assert camp.hub.asked == 1


def test_a_roster_counts_from_its_import_on_as_it_does_for_the_hub(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        roster = camp.settings.roster_path
        late = camp.by("latecomer")
        roster.write_text(roster.read_text() + "latecomer,늦은이,student,\n")
        assert late.get("api/assignments/camp").status_code == 403
        import_roster(camp.settings)
        assert late.get("api/assignments/camp").status_code == 200


# How much


@pytest.mark.parametrize("way", ["urlencoded", "multipart"])
def test_as_much_as_the_limits_allow_is_taken_in_its_bulkiest_form(tmp_path: Path, way: str) -> None:
    files = dict.fromkeys(("a.bin", "b.bin"), b"\xff" * 2**20)  # base64 "////", percent-encoded "%2F%2F…"
    with running(tmp_path, file_limit="1M", submission_limit="2M", files_limit=2) as camp:
        release(camp)
        form: dict[str, Any] = {"data": {"files": tree(files)}}
        if way == "multipart":
            form = {"files": {"files": (None, tree(files))}}
        answer = camp.by("student1").post("api/submission/camp/one", **form)
        assert answer.status_code == 200, answer.text
        assert answer.json()["size"] == 2 * 2**20


def test_what_is_too_much_is_refused_with_the_number_and_what_to_do(tmp_path: Path) -> None:
    with running(tmp_path, file_limit="10K", submission_limit="15K", files_limit=3) as camp:
        release(camp)
        for files, text in (
            ({"a.bin": b"x" * 11_000}, "'a.bin' has 10.7 KB; a file may have 10.0 KB. Clear its outputs"),
            ({"a.bin": b"x" * 9_000, "b.bin": b"x" * 9_000}, "All files together have 17.6 KB"),
            (dict.fromkeys("abcd", b""), "There are 4 files; a submission may have 3"),
            ({"a.bin": b"x" * 4_000_000}, "That is too large"),
        ):
            answer = submit(camp, files)
            assert answer.status_code == 413
            assert text in answer.json()["message"]
        assert camp.by("teacher").get("api/submissions/camp/one").json()["submissions"] == []


def test_an_unsafe_name_is_refused_in_ngshares_words_with_a_hint_for_the_person(camp: Camp, assignment: str) -> None:
    answer = submit(camp, {"a:b.txt": b""}, assignment=assignment)
    assert answer.json()["message"] == "Illegal path"
    assert "Rename it without" in answer.json()["hint"]


def test_too_many_a_minute_are_refused_with_the_wait(tmp_path: Path) -> None:
    with running(tmp_path, per_minute=2) as camp:
        release(camp)
        assert [submit(camp, NOTEBOOK).status_code for _ in range(3)] == [200, 200, 429]
        refused = submit(camp, NOTEBOOK)
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert "You can submit 2 times a minute" in refused.json()["message"]
        assert submit(camp, NOTEBOOK, "student2").status_code == 200


def test_a_full_quota_is_refused_and_the_earlier_ones_are_safe(tmp_path: Path) -> None:
    with running(tmp_path, student_limit="20K") as camp:
        release(camp)
        assert submit(camp, {"a.bin": os.urandom(15_000)}).status_code == 200
        refused = submit(camp, {"a.bin": os.urandom(15_000)})
        assert refused.status_code == 413
        assert "take 14.6 KB of 20.0 KB. Those already sent are safe" in refused.json()["message"]
        assert submit(camp, {"a.bin": os.urandom(15_000)}, "student2").status_code == 200


def raw(camp: Camp, headers: str) -> socket.socket:
    """A connection on which a submission has begun."""
    camp.by("student1")
    place = (str(camp.settings.gateway), camp.settings.site.exchange_port)
    connection = socket.create_connection(place, timeout=30)
    connection.sendall(
        f"POST {PREFIX}/api/submission/camp/one HTTP/1.1\r\nHost: x\r\nAuthorization: token token-of-student1\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n{headers}\r\n\r\n".encode()
    )
    return connection


def test_a_terabyte_is_refused_before_any_of_it_is_sent(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        release(camp)
        with raw(camp, f"Content-Length: {2**40}") as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_an_endless_stream_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    with running(tmp_path, submission_limit="1M", files_limit=1) as camp:
        release(camp)
        sent = 0
        with raw(camp, "Transfer-Encoding: chunked") as connection:
            try:
                while sent < 2**30:
                    connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                    sent += 65536
            except OSError:
                pass  # the service closed it
            assert connection.recv(1000).startswith(b"HTTP/1.1 413")
        assert sent < DRAIN_LIMIT + 32 * 2**20  # what is thrown away, and what the network's buffers hold
        assert list(camp.settings.exchange_folder.glob("incoming/*/*")) == []


def test_others_submit_while_one_sends_slowly(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        release(camp)
        slow = [raw(camp, "Content-Length: 1000000") for _ in range(2)]
        try:
            for connection in slow:
                connection.sendall(b"files=")
            time.sleep(0.2)
            assert submit(camp, NOTEBOOK, "student2").status_code == 200
            third = submit(camp, NOTEBOOK)
            assert third.status_code == 429
            assert "still arriving" in third.json()["message"]
        finally:
            for connection in slow:
                connection.close()


BOMB = "[" + "[]," * 5_000_000 + "[]]"


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"files": BOMB}},
        {"data": {str(number): "x" for number in range(1000)}},
        {"files": {"files": ("name.json", "[]")}},
        {"content": b"files=%ff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"--x\r\n\r\n\r\n--x--", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"junk", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"{}", "headers": {"Content-Type": "application/json"}},
        {"content": b"x", "headers": {"Content-Type": "\x7f"}},
        {"data": {"files": "[]"}, "headers": {"Content-Encoding": "gzip"}},
    ],
)
def test_a_body_made_to_hurt_is_refused(camp: Camp, assignment: str, form: dict[str, Any]) -> None:
    answer = camp.by("student1").post(f"api/submission/camp/{assignment}", **form)
    assert 400 <= answer.status_code < 500
    assert answer.json()["success"] is False


# What survives


def test_every_receipt_has_its_submission_after_kill_9(tmp_path: Path) -> None:
    """Students submit all the time; the service is killed at random moments and started again."""
    receipts: list[tuple[str, int, str, bytes]] = []
    stop = threading.Event()

    def keep_submitting(login: str, camp: Camp) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            content = f"{login} {number}".encode() + os.urandom(random.randrange(100_000))  # noqa: S311  # a size
            try:
                answer = submit(camp, {"answer.bin": content}, login)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            assert answer.status_code == 200, answer.text
            receipt = answer.json()
            receipts.append((login, receipt["submission"], receipt["timestamp"], content))

    with running(tmp_path, as_process=True, per_minute=100_000) as camp:
        release(camp)
        logins = ("student1", "student2", "student3")
        for login in logins:
            camp.by(login)
        with ThreadPoolExecutor(len(logins)) as pool:
            running_students = [pool.submit(keep_submitting, login, camp) for login in logins]
            for _ in range(3):
                time.sleep(random.uniform(0.3, 1.0))  # noqa: S311  # a moment
                camp.kill()
                camp.start()
            time.sleep(0.5)
            stop.set()
            for future in running_students:
                future.result()
        camp.kill()
    assert len(receipts) > 10
    with Store(tmp_path / "exchange") as store:
        for login, number, _, content in receipts:
            submission = store.submission(number)
            assert submission.student == login
            assert [store.read(file) for file in store.files(submission)] == [content]
        kept = store.submissions("camp", "one")
        assert all(store.read(file) for submission in kept for file in store.files(submission))
        jobs = []
        while (job := store.claim()) is not None:
            jobs.append(job.submission)
            store.finish(job.id)
        assert sorted(jobs) == [submission.id for submission in kept]
        assert len(list((tmp_path / "exchange" / "incoming").iterdir())) == 1  # only this process's own


def test_a_class_that_submits_at_the_same_moment_gets_a_receipt_each(camp: Camp, assignment: str) -> None:
    files = {"warm-up.ipynb": b"x" * 1_000_000}
    logins = ["student1", "student2", "student3", "mentor1"]
    for login in logins:
        camp.by(login)

    def send(number: int) -> int:
        while (answer := submit(camp, files, logins[number % 4], assignment)).status_code == 429:
            time.sleep(0.05)  # two at once for each person
        receipt: int = answer.json()["submission"]
        return receipt

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(40)))) == 40


@pytest.fixture
def in_process(tmp_path: Path) -> Any:
    """The service without a process of its own, so that its store can be made to fail."""
    hub = HubDouble("127.0.0.1")
    settings = prepare(tmp_path, hub, "127.0.0.1")
    store = Store(settings.exchange_folder)
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json=user("student1")))
    app = create_app(settings, store, Identity("http://hub/hub/api", transport=answers))
    yield app, store
    store.close()
    hub.close()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a bug")])
async def test_a_store_that_fails_gives_no_receipt(
    in_process: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, store = in_process
    store.release("camp", "one", NOTEBOOK, by="teacher")

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(store, "submit", fail)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://x{PREFIX}/") as client:
        form = {"files": tree(NOTEBOOK)}
        answer = await client.post("api/submission/camp/one", data=form, headers={"Authorization": "token x"})
    assert answer.json()["success"] is False
    if isinstance(error, OSError):
        assert answer.status_code == 507
        assert "it was not submitted" in answer.json()["message"]
    else:
        assert (answer.status_code, answer.json()["message"]) == (500, "Internal server error")
    assert "No space" not in answer.text


# Beside ngshare's API


def test_an_instructor_has_a_submission_graded_and_sees_how_it_ends(camp: Camp, assignment: str) -> None:
    submit(camp, NOTEBOOK, assignment=assignment)
    teacher = camp.by("teacher")
    number = teacher.post(f"gpuclass/v1/grading/camp/{assignment}/student1").json()["job"]
    path = f"gpuclass/v1/grading/jobs/{number}"
    assert teacher.get(path).json()["state"] == "waiting"
    with Store(camp.settings.exchange_folder) as store:
        store.finish(number, error="the sandbox did not start")
    shown = teacher.get(path).json()
    assert (shown["state"], shown["error"]) == ("failed", "the sandbox did not start")
    assert camp.by("student1").get(path).status_code == 403
    assert teacher.get("gpuclass/v1/grading/jobs/999999").status_code == 404
    assert teacher.post(f"gpuclass/v1/grading/camp/{assignment}/student2").status_code == 404


def test_one_request_tells_a_student_everything_of_their_own_and_nothing_of_others(camp: Camp, assignment: str) -> None:
    submit(camp, NOTEBOOK, "student1", assignment)
    submit(camp, NOTEBOOK, "student2", assignment)
    items = camp.by("student1").get("gpuclass/v1/assignments/camp").json()["assignments"]
    [item] = [item for item in items if item["name"] == assignment]
    assert item["files"] == ["warm-up.ipynb"]
    assert [submission["state"] for submission in item["submissions"]] == ["waiting"]
    assert "student2" not in json.dumps(items)


def test_the_docs_page_needs_no_token_no_script_and_no_internet(camp: Camp) -> None:
    page = httpx.get(f"{camp.settings.exchange_url}/docs")
    assert page.status_code == 200
    api = httpx.get(f"{camp.settings.exchange_url}/openapi.json").json()
    assert len(api["paths"]) > 15
    assert all(path in page.text for path in api["paths"])
    assert not re.search(r"<script|src=|https?://(?!ngshare)", page.text)
    assert "camp" not in page.text


def test_no_answer_can_act_in_a_browser(camp: Camp) -> None:
    for answer in (
        httpx.get(f"{camp.settings.exchange_url}/docs"),
        camp.by("student1").get("api/courses"),
        camp.by("student1").get("api/<script>alert(1)</script>"),
    ):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
