"""The streaming upload: what is refused before it comes, what is kept, and what a broken one leaves."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuclass.exchange.service import body, streams
from gpuclass.exchange.service.app import PREFIX, create_app
from gpuclass.exchange.service.identity import Identity
from gpuclass.exchange.service.streams import PIECE
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.wire import show_time
from tests.exchange.conftest import NOTEBOOK, Camp, HubDouble, prepare, running, tree, user
from tests.exchange.streaming import form, form_of, manifest, new_key, send

pytestmark = pytest.mark.slow

BOUNDARY = "b0undary"


def release(camp: Camp, assignment: str = "one") -> None:
    assert camp.by("teacher").post(f"api/assignment/camp/{assignment}", data={"files": tree(NOTEBOOK)}).is_success


def kept(camp: Camp, assignment: str = "one") -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = camp.by("teacher").get(f"api/submissions/camp/{assignment}").json()["submissions"]
    return listed


def on_disk(camp: Camp) -> set[Path]:
    """Every file of the store, beside its database."""
    folder = camp.settings.exchange_folder
    return {path for part in ("objects", "incoming") for path in (folder / part).rglob("*") if path.is_file()}


@contextmanager
def begun(
    camp: Camp,
    manifest: Any = None,
    *,
    login: str = "student1",
    key: str | None = None,
    length: int | None = 40_000_000,
    assignment: str = "one",
) -> Iterator[socket.socket]:
    """A connection on which an upload's headers and manifest have been sent, and nothing of its files."""
    camp.by(login)
    size = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    head = (
        f"POST {PREFIX}/gpuclass/v1/submission/camp/{assignment} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: token token-of-{login}\r\nIdempotency-Key: {key or new_key()}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{size}\r\n\r\n"
    ).encode()
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="manifest"\r\n\r\n'.encode()
    with socket.create_connection((str(camp.settings.gateway), camp.settings.site.exchange_port), timeout=30) as place:
        place.sendall(head)
        if manifest is not None:
            place.sendall(part + json.dumps(manifest).encode() + b"\r\n" + FILE_BEGINS)
        yield place


FILE_BEGINS = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()


def answer(place: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the JSON that come back on a connection."""
    response = b""
    while b"\r\n\r\n" not in response or not response.endswith(b"}"):
        piece = place.recv(65536)
        assert piece, response
        response += piece
    head, _, text = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(text)


def entry(path: str = "a.bin", size: int = 1_000_000) -> dict[str, Any]:
    return {"path": path, "size": size, "sha256": "0" * 64}


# What is kept


def test_a_receipt_names_what_is_kept_and_it_reads_back_byte_for_byte(camp: Camp, assignment: str) -> None:
    files = {"노트.ipynb": os.urandom(700_000), "data/empty.txt": b"", "b.bin": b"\r\n--b0undary\r\n" * 40_000}
    receipt = send(camp.by("student1"), assignment, files).json()
    assert receipt == {
        "success": True,
        "submission": receipt["submission"],
        "timestamp": receipt["timestamp"],
        "size": sum(map(len, files.values())),
        "files": 3,
        "sha256": receipt["sha256"],
        "version": 1,
        "due": None,
        "late": False,
        "queued": None,
        "again": False,
    }
    with Store(camp.settings.exchange_folder) as store:
        submission = store.submission(receipt["submission"])
        assert show_time(submission.received) == receipt["timestamp"]
        assert {file.path: store.read(file) for file in store.files(submission)} == files


def test_the_receipt_tells_version_and_what_was_queued(camp: Camp, assignment: str) -> None:
    camp.by("teacher").put(f"gpuclass/v1/assignment/camp/{assignment}", data={"files": tree(NOTEBOOK)})
    pressed = "2026-11-23 09:00:00.000000 UTC"
    old = send(camp.by("student1"), assignment, NOTEBOOK, version=1, queued=pressed).json()
    assert (old["version"], old["queued"]) == (1, pressed)
    assert send(camp.by("student1"), assignment, NOTEBOOK).json()["version"] == 2


def test_content_in_many_small_pieces_is_the_same(camp: Camp, assignment: str) -> None:
    files = {"a.bin": os.urandom(3000), "b.bin": b"x"}
    request = camp.by("student1").build_request("POST", f"gpuclass/v1/submission/camp/{assignment}", files=form(files))
    text = request.read()
    pieces = (text[place : place + 7] for place in range(0, len(text), 7))
    headers = {"Idempotency-Key": new_key(), "Content-Type": request.headers["Content-Type"]}
    sent = camp.by("student1").post(str(request.url), content=pieces, headers=headers)
    assert sent.json()["size"] == 3001, sent.text


# The same press again


def test_the_same_key_is_the_same_submission(camp: Camp, assignment: str) -> None:
    student, key = camp.by("student1"), new_key()
    first = send(student, assignment, NOTEBOOK, key).json()
    assert send(student, assignment, NOTEBOOK, key).json() == first | {"again": True}
    assert len(kept(camp, assignment)) == 1


def test_the_same_key_of_another_student_or_assignment_is_another_submission(camp: Camp, assignment: str) -> None:
    key = new_key()
    release(camp, f"{assignment} 2")
    receipts = [
        send(camp.by("student1"), assignment, NOTEBOOK, key).json(),
        send(camp.by("student2"), assignment, NOTEBOOK, key).json(),
        send(camp.by("student1"), f"{assignment} 2", NOTEBOOK, key).json(),
    ]
    assert [receipt["again"] for receipt in receipts] == [False] * 3


def test_other_files_under_a_used_key_are_refused_and_the_first_stay(camp: Camp, assignment: str) -> None:
    student, key = camp.by("student1"), new_key()
    send(student, assignment, NOTEBOOK, key)
    for other in ({"warm-up.ipynb": b"{}"}, {"other.ipynb": NOTEBOOK["warm-up.ipynb"]}, NOTEBOOK | {"b": b""}):
        refused = send(student, assignment, other, key)
        assert refused.status_code == 409
        assert "those are safe" in refused.json()["message"]
    assert len(kept(camp, assignment)) == 1


def test_a_repeated_key_brings_the_receipt_when_rate_quota_and_limits_say_no_by_now(tmp_path: Path) -> None:
    content, key = {"a.bin": os.urandom(15_000)}, new_key()
    with running(tmp_path, per_minute=2, student_limit="20K") as camp:
        release(camp)
        student = camp.by("student1")
        first = send(student, "one", content, key).json()
        assert send(student, "one", {"a.bin": b"other" * 4000}).status_code == 413  # the quota
        assert send(student, "one", NOTEBOOK).status_code == 429  # the rate
        assert send(student, "one", content, key).json() == first | {"again": True}
        camp.by("teacher").delete("api/assignment/camp/one")
        assert send(student, "one", content, key).json() == first | {"again": True}


def test_a_repeated_key_brings_the_receipt_when_the_limits_are_lower_by_now(tmp_path: Path) -> None:
    content, key = {"a.bin": os.urandom(15_000), "b.bin": os.urandom(15_000)}, new_key()
    with running(tmp_path) as camp:
        release(camp)
        first = send(camp.by("student1"), "one", content, key).json()
    with running(tmp_path, file_limit="10K", submission_limit="40K", files_limit=1) as camp:
        assert send(camp.by("student1"), "one", content, key).json() == first | {"again": True}
        assert send(camp.by("student1"), "one", content).status_code == 413


def test_one_press_sent_twice_at_once_is_one_submission(camp: Camp, assignment: str) -> None:
    content, key = {"a.bin": os.urandom(2_000_000)}, new_key()
    camp.by("student1")
    start = threading.Barrier(2)

    def press() -> dict[str, Any]:
        with httpx.Client(base_url=camp.by("student1").base_url, headers=camp.by("student1").headers) as client:
            start.wait()
            receipt: dict[str, Any] = send(client, assignment, content, key).json()
            return receipt

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            one, two = [future.result() for future in [pool.submit(press) for _ in range(2)]]
        assert one | {"again": None} == two | {"again": None}
        assert one["again"] or two["again"]
    assert len(kept(camp, assignment)) == 1


# When it came


class Slow:
    """The service in this process, with a clock of the test's own, and a sender that takes its time."""

    def __init__(self, folder: Path) -> None:
        self.hub = HubDouble("127.0.0.1")
        self.now = datetime(2026, 11, 23, 8, tzinfo=UTC)
        settings = prepare(folder, self.hub, "127.0.0.1")
        self.store = Store(settings.exchange_folder, clock=lambda: self.now)
        answers = httpx.MockTransport(lambda _: httpx.Response(200, json=user("student1")))
        self.app = create_app(settings, self.store, Identity("http://hub/hub/api", transport=answers))
        self.store.release("camp", "one", NOTEBOOK, by="teacher")

    async def submit(self, path: str, takes: timedelta, **sent: Any) -> dict[str, Any]:
        """Send now; the body is there after ``takes``."""
        url = f"http://x{PREFIX}/{path}"
        request = httpx.Request("POST", url, **sent)
        text = request.read()

        async def slowly() -> Any:
            yield text[: len(text) // 2]
            self.now += takes
            yield text[len(text) // 2 :]

        headers = dict(request.headers) | {"Authorization": "token x", "Idempotency-Key": new_key()}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app)) as client:
            response = await client.post(url, content=slowly(), headers=headers)
        assert response.status_code == 200, response.text
        receipt: dict[str, Any] = response.json()
        return receipt

    def close(self) -> None:
        self.store.close()
        self.hub.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    service = Slow(tmp_path)
    yield service
    service.close()


async def test_a_submission_whose_headers_came_in_time_is_in_time_however_long_its_body_takes(slow: Slow) -> None:
    due = slow.now
    Deadlines(slow.store).put("camp", "one", due, by="teacher")
    in_time = await slow.submit("gpuclass/v1/submission/camp/one", timedelta(minutes=4), files=form(NOTEBOOK))
    assert (in_time["timestamp"], in_time["due"], in_time["late"]) == (show_time(due), show_time(due), False)
    slow.now = due + timedelta(microseconds=1)
    late = await slow.submit("gpuclass/v1/submission/camp/one", timedelta(0), files=form(NOTEBOOK))
    assert (late["timestamp"], late["late"]) == (show_time(slow.now), True)
    Deadlines(slow.store).put("camp", "one", due + timedelta(hours=1), by="teacher", student="student1")
    longer = await slow.submit("gpuclass/v1/submission/camp/one", timedelta(0), files=form(NOTEBOOK))
    assert (longer["due"], longer["late"]) == (show_time(due + timedelta(hours=1)), False)


async def test_ngshares_submission_too_has_the_time_of_its_headers(slow: Slow) -> None:
    came = slow.now
    receipt = await slow.submit("api/submission/camp/one", timedelta(minutes=4), data={"files": tree(NOTEBOOK)})
    assert receipt["timestamp"] == show_time(came)


async def test_one_that_was_queued_is_late_by_its_arrival_whatever_its_own_clock_says(slow: Slow) -> None:
    Deadlines(slow.store).put("camp", "one", slow.now - timedelta(minutes=1), by="teacher")
    pressed = show_time(slow.now - timedelta(hours=1))
    files = form(NOTEBOOK, queued=pressed)
    receipt = await slow.submit("gpuclass/v1/submission/camp/one", timedelta(0), files=files)
    assert (receipt["queued"], receipt["late"]) == (pressed, True)


async def test_a_press_that_claims_to_be_of_the_future_was_now(slow: Slow) -> None:
    files = form(NOTEBOOK, queued="9999-12-31 23:59:59.000000 UTC")
    receipt = await slow.submit("gpuclass/v1/submission/camp/one", timedelta(0), files=files)
    assert receipt["queued"] == receipt["timestamp"] == show_time(slow.now)


# What is refused before it comes


@pytest.mark.parametrize(
    ("entries", "status", "text"),
    [
        ([entry(size=11_000_000)], 413, "'a.bin' has 10.5 MB; a file may have 10.0 MB. Clear its outputs"),
        ([entry("a", 9_000_000), entry("b", 9_000_000)], 413, "All files together have 17.2 MB"),
        ([entry(name, 1) for name in "abcd"], 413, "There are 4 files; a submission may have 3"),
        ([entry(size=4_000_000)], 413, "take 0.0 KB of 2.9 MB"),
        ([entry("../a")], 400, "Illegal path"),
        ([entry("A"), entry("a")], 400, "Illegal path"),
        ([entry(size=-1)], 400, "The manifest cannot be read"),
        ([], 400, "The manifest cannot be read"),
        ([{"path": "a"}], 400, "The manifest cannot be read"),
        ("", 400, "The manifest cannot be read"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_its_content_is_sent(
    narrow: Camp, entries: Any, status: int, text: str
) -> None:
    before = on_disk(narrow)
    with begun(narrow, {"files": entries}) as place:
        refused, content = answer(place)
    assert refused == status
    assert text in content["message"]
    assert kept(narrow) == []
    assert on_disk(narrow) == before


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camp]:
    """A class with narrow limits."""
    limits: dict[str, Any] = {
        "file_limit": "10M",
        "submission_limit": "15M",
        "files_limit": 3,
        "student_limit": "3000K",
        "per_minute": 10_000,
    }
    with running(tmp_path_factory.mktemp("narrow"), **limits) as camp:
        release(camp)
        yield camp


def test_an_assignment_that_there_is_not_is_refused_before_the_content(camp: Camp) -> None:
    with begun(camp, {"files": [entry()]}, assignment="nothing") as place:
        assert answer(place) == (404, {"success": False, "message": "Assignment not found"})


def test_a_stranger_is_refused_before_the_manifest(camp: Camp, assignment: str) -> None:
    with begun(camp, login="stranger", assignment=assignment) as place:
        assert answer(place) == (403, {"success": False, "message": "Permission denied"})


def test_a_terabyte_is_refused_before_any_of_it_is_sent(camp: Camp, assignment: str) -> None:
    with begun(camp, {"files": [entry(size=2**40)]}, assignment=assignment, length=2**40) as place:
        status, content = answer(place)
    assert (status, content["message"][:42]) == (413, "'a.bin' has 1048576.0 MB; a file may have ")


def test_a_key_that_is_none_is_refused(camp: Camp, assignment: str) -> None:
    for key in ("short", "x" * 65, "with space", "", "ключ-ключ"):
        headers = {b"Idempotency-Key": key.encode()}
        path = f"gpuclass/v1/submission/camp/{assignment}"
        refused = camp.by("student1").post(path, files=form(NOTEBOOK), headers=headers)
        assert refused.status_code == 400
        assert "Idempotency-Key" in refused.json()["hint"]


def test_a_refusal_reaches_a_client_that_is_still_sending(camp: Camp, assignment: str) -> None:
    content = {"a.bin": b"x" * 24_000_000}
    announced = manifest(content) | {"files": [manifest(content)["files"][0] | {"path": "a:b"}]}
    for _ in range(5):
        refused = camp.by("student1").post(
            f"gpuclass/v1/submission/camp/{assignment}",
            files=form_of(announced, content),
            headers={"Idempotency-Key": new_key()},
        )
        assert (refused.status_code, refused.json()["message"]) == (400, "Illegal path")
        assert refused.headers["Connection"] == "close"


# What comes otherwise than announced


def spoiled(files: dict[str, bytes], **changes: Any) -> Any:
    """A form whose manifest says something else of the first file."""
    announced = manifest(files)
    announced["files"][0] |= changes
    return form_of(announced, files)


CONTENT = {"a.bin": b"a" * 600_000, "b.bin": b"b" * 600_000}


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (spoiled(CONTENT, sha256="0" * 64), "'a.bin' arrived damaged, and nothing was stored. Submit again."),
        (spoiled(CONTENT, size=599_999), "'a.bin' arrived damaged"),
        (spoiled(CONTENT, size=600_001), "'a.bin' arrived damaged"),
        (form(CONTENT)[:-1], "The form cannot be read"),
        ([*form(CONTENT), ("file", ("x", b"more", "text/plain"))], "The form cannot be read"),
        (form(CONTENT)[1:], "The form cannot be read"),
        ([form(CONTENT)[0], ("files", ("x", b"a" * 600_000, "text/plain"))], "The form cannot be read"),
        ([("manifest", (None, b"[" * 1_000_000, "application/json"))], "The manifest cannot be read"),
        ([("manifest", (None, b"[" * 2_000_000, "application/json"))], "The manifest is too large"),
        ([("manifest", (None, b'{"files": [{"path": "\\ud800"}]}', "application/json"))], "The manifest cannot be"),
    ],
)
def test_what_comes_otherwise_than_announced_leaves_nothing(
    camp: Camp, assignment: str, sent: Any, message: str
) -> None:
    before = on_disk(camp)
    refused = camp.by("student1").post(
        f"gpuclass/v1/submission/camp/{assignment}", files=sent, headers={"Idempotency-Key": new_key()}
    )
    assert 400 <= refused.status_code < 500
    assert message in refused.json()["message"]
    assert kept(camp, assignment) == []
    assert on_disk(camp) == before


def test_a_body_that_is_no_such_form_is_refused(camp: Camp, assignment: str) -> None:
    for text, kind, status in (
        (b"", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"junk", "multipart/form-data; boundary=x", 400),
        (b"--x--", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n" + b"a: b\r\n" * 1000, "multipart/form-data; boundary=x", 400),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"--x\r\n", f"multipart/form-data; boundary={'x' * 300}", 400),
        (b"files=[]", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 415),
    ):
        headers = {"Idempotency-Key": new_key(), "Content-Type": kind}
        refused = camp.by("student1").post(f"gpuclass/v1/submission/camp/{assignment}", content=text, headers=headers)
        assert (refused.status_code, refused.json()["success"]) == (status, False)


def test_a_connection_that_breaks_leaves_nothing(camp: Camp, assignment: str) -> None:
    before = on_disk(camp)
    for sent in (0, 1000, 1_000_000, 1_999_999):
        with begun(camp, {"files": [entry(size=2_000_000)]}, assignment=assignment, length=2_001_000) as place:
            place.sendall(b"x" * sent)
            if sent > PIECE:
                wait_for(lambda: on_disk(camp) != before)
    wait_for(lambda: on_disk(camp) == before)
    assert kept(camp, assignment) == []


def wait_for(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


# Slow ones and many at once


def test_others_do_not_notice_somebody_who_sends_a_byte_at_a_time(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        release(camp)
        before = on_disk(camp)
        with begun(camp, {"files": [entry()]}) as one, begun(camp, {"files": [entry()]}) as two:
            for place in (one, two):
                place.sendall(b"x" * (PIECE + 2**17))
            wait_for(lambda: len(on_disk(camp) - before) == 2)
            busy = send(camp.by("student1"), "one", NOTEBOOK)
            assert "still arriving" in busy.json()["message"]
            assert busy.headers["Retry-After"] == "5"
            for _ in range(5):
                begin = time.monotonic()
                one.sendall(b"x")
                assert send(camp.by("student2"), "one", NOTEBOOK).status_code == 200
                assert time.monotonic() - begin < 2
        wait_for(lambda: send(camp.by("student1"), "one", NOTEBOOK).status_code == 200)


def test_one_that_sends_nothing_for_long_is_given_up_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "IDLE_TIMEOUT_S", 0.3)
    with running(tmp_path) as camp:
        release(camp)
        with begun(camp, {"files": [entry()]}) as place:
            place.sendall(b"x")
            status, content = answer(place)
        assert status == 408
        assert "nothing was stored. Submit again" in content["message"]


def test_one_that_takes_too_long_altogether_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "UPLOAD_TIMEOUT_S", 0.5)
    with running(tmp_path) as camp:
        release(camp)
        with begun(camp, {"files": [entry()]}) as place:
            for _ in range(10):
                place.sendall(b"x")
                time.sleep(0.1)
            assert answer(place)[0] == 408


def test_what_the_work_is_must_be_said_soon_after_the_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MANIFEST_TIMEOUT_S", 0.5)
    with running(tmp_path) as camp:
        release(camp)
        with begun(camp) as place:
            for byte in f"--{BOUNDARY}".encode():
                place.sendall(bytes([byte]))
                time.sleep(0.1)
            assert answer(place)[0] == 408


def test_large_uploads_at_once_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Eight times 24 MB at once; the service grows by a fraction of one of them."""
    content = {f"{name}.bin": os.urandom(8_000_000) for name in "abc"}
    with running(tmp_path, as_process=True) as camp:
        release(camp)
        logins = ["student1", "student2", "student3", "mentor1"]
        for login in logins:
            assert send(camp.by(login), "one", NOTEBOOK).is_success
        assert camp.process is not None
        status = Path(f"/proc/{camp.process.pid}/status")
        Path(f"/proc/{camp.process.pid}/clear_refs").write_text("5")  # the peak counts from here
        before = memory(status, "VmRSS")
        with ThreadPoolExecutor(8) as pool:
            sent = list(pool.map(lambda number: send(camp.by(logins[number % 4]), "one", content), range(8)))
        assert [answer.status_code for answer in sent] == [200] * 8
        assert memory(status, "VmHWM") - before < 20 * 2**20


def memory(status: Path, key: str) -> int:
    """Bytes, from /proc."""
    [line] = [line for line in status.read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024


def test_content_is_stored_once_however_often_it_is_sent(camp: Camp, assignment: str) -> None:
    content = os.urandom(100_000)
    for name in ("a.bin", "b.bin"):
        assert send(camp.by("student1"), assignment, {name: content, f"copy-{name}": content}).is_success
    digest = hashlib.sha256(content).hexdigest()
    assert [path.name for path in on_disk(camp)].count(digest) == 1
    assert all("incoming" not in path.parts for path in on_disk(camp))
