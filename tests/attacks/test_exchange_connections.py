"""One student's connections: many, silent, slow, never reading, and HTTP that means two things."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gpuclass.exchange.service import connections
from tests.attacks.raw import BOUNDARY, END, STUDENT, ask, connected, head, kept, part, status_of, upload
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import form, manifest, new_key, send

pytestmark = pytest.mark.slow


def memory(camp: Camp) -> int:
    """Bytes that the service's process has in memory now."""
    assert camp.process is not None
    lines = Path(f"/proc/{camp.process.pid}/status").read_text().splitlines()
    [resident] = [line for line in lines if line.startswith("VmRSS")]
    return int(resident.split()[1]) * 1024


def ended(connection: socket.socket) -> bool:
    """Whether the other side closes the connection within two seconds."""
    connection.settimeout(2)
    try:
        while connection.recv(65536):
            pass
    except (TimeoutError, ConnectionResetError) as error:
        return isinstance(error, ConnectionResetError)
    return True


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camp]:
    """The exchange as a process of its own, whose memory can be seen."""
    with running(tmp_path_factory.mktemp("process"), as_process=True, per_minute=10_000) as camp:
        for login in ("student1", "student2", "student3", "mentor1"):
            camp.by(login).get("api/courses")
        yield camp


def test_one_container_with_a_thousand_silent_connections_does_not_shut_the_others_out(process: Camp) -> None:
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connected(process, source=STUDENT))
        for login in ("student2", "student3"):
            assert httpx.get(  # a connection of its own, as a new one is what is shut out
                f"{process.settings.exchange_url}/api/courses", headers=process.by(login).headers
            ).is_success
        fresh = ask(process, head(process, "api/courses", method="GET"), source=STUDENT)
        assert status_of(fresh) == 0, "over its number, it gets none"
    time.sleep(0.2)
    assert status_of(ask(process, head(process, "api/courses", method="GET"), source=STUDENT)) == 200


def test_a_connection_without_a_request_is_closed_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 0.3)
    with running(tmp_path) as camp:
        request = head(camp, "api/courses", method="GET")
        with connected(camp) as silent, connected(camp) as slow, connected(camp) as second:
            slow.sendall(request[:40])
            second.sendall(request)
            assert status_of(second.recv(65536)) == 200
            second.sendall(request[:40])
            for connection in (silent, slow, second):
                assert ended(connection)


def test_answers_that_nobody_reads_do_not_fill_the_memory(process: Camp) -> None:
    size = 12_000_000
    process.by("teacher").post("api/assignment/camp/data", data={"files": tree({"data.bin": os.urandom(size)})})
    before = memory(process)
    request = head(process, "api/assignment/camp/data", method="GET")
    with ExitStack() as stack:
        for _ in range(connections.FROM_ONE_ADDRESS):
            stack.enter_context(connected(process, source=STUDENT)).sendall(request)
        time.sleep(1)
        assert process.by("student2").get("api/assignment/camp/data").json()["files"][0]["path"] == "data.bin"
        assert memory(process) - before < 8 * size  # of 32; whole and in base64 it would be over 100


def test_forty_large_uploads_during_an_attack_get_their_receipts_in_little_memory(process: Camp) -> None:
    """Silent, slow and cut connections, bogus tokens and forms made of delimiters, while the others submit."""
    process.by("teacher").post("api/assignment/camp/large", data={"files": tree(NOTEBOOK)})
    delimiters = (b"\r\n--" + BOUNDARY + b"x") * 200_000
    content = {f"{name}.bin": os.urandom(2_000_000) for name in "ab"}
    before = memory(process)
    slowest = 0.0
    with ExitStack() as stack:
        for number in range(connections.FROM_ONE_ADDRESS - 4):
            attack = stack.enter_context(connected(process, source=STUDENT))
            body = part(b"{", "manifest") if number % 2 else part(b'{"files": []}', "manifest")
            attack.sendall(upload(process, "large", body, "Content-Length: 50000000", login="mentor1"))
        for number in range(40):
            if number % 10 == 0:
                announced = manifest({"x.bin": delimiters})
                body = part(str(announced).replace("'", '"').replace("None", "null").encode(), "manifest")
                with connected(process, source=STUDENT) as cut:
                    cut.sendall(upload(process, "large", body + part(delimiters), "Content-Length: 9000000"))
                bogus = {"Authorization": f"token bogus{number}"}
                assert httpx.get(f"{process.settings.exchange_url}/api/courses", headers=bogus).status_code == 302
            begin = time.monotonic()
            receipt = send(process.by(f"student{2 + number % 2}"), "large", content)
            slowest = max(slowest, time.monotonic() - begin)
            assert receipt.status_code == 200, receipt.text
        assert memory(process) - before < 30 * 2**20
    assert slowest < 5
    stored = kept(process, "large")
    assert [entry["files"] for entry in stored if entry["student"] in ("student2", "student3")] == [content] * 40


# One request that could be two


@pytest.fixture
def whole() -> bytes:
    """The body of a streaming upload of one notebook."""
    request = httpx.Request("POST", "http://x", files=form(NOTEBOOK), headers={"Content-Type": TYPE})
    return request.read()


TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 10", "Content-Length: 20"],
        ["Content-Length: -1"],
        ["Content-Length: " + "9" * 5000],
        ["Content-Length: 0x10"],
        ["Content-Length: +10"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding : chunked"],
        ["X: " + "a" * 200_000],
        ["X\0: a"],
    ],
)
def test_a_length_that_can_be_read_in_two_ways_is_refused(
    camp: Camp, assignment: str, whole: bytes, headers: list[str]
) -> None:
    answer = ask(camp, upload(camp, assignment, whole + head(camp, "api/courses", method="GET"), *headers))
    assert status_of(answer) in (0, 400, 413, 501)
    assert answer.count(b"HTTP/1.1 ") <= 1, "nothing in the body was taken for a request"
    assert kept(camp, assignment) == []


def test_where_both_lengths_are_given_the_chunks_count_and_nothing_is_smuggled(
    camp: Camp, assignment: str, whole: bytes
) -> None:
    body = f"{len(whole):x}\r\n".encode() + whole + b"\r\n0\r\n\r\n"
    smuggled = head(camp, "api/students/camp", method="GET", login="teacher")
    for length in (4, len(body), len(body) + len(smuggled)):
        headers = [f"Content-Length: {length}", "Transfer-Encoding: chunked", "Connection: close"]
        answer = ask(camp, upload(camp, assignment, body, *headers) + smuggled)
        assert status_of(answer) in (200, 400)
        assert b"student3" not in answer


def test_two_requests_in_one_go_are_answered_one_after_the_other(camp: Camp, assignment: str, whole: bytes) -> None:
    two = upload(camp, assignment, whole, key="press-one") + upload(
        camp, assignment, whole, f"Content-Length: {len(whole)}", "Connection: close", key="press-two"
    )
    assert ask(camp, two).count(b"HTTP/1.1 200 OK") == 2
    assert [entry["files"] for entry in kept(camp, assignment)] == [NOTEBOOK] * 2


def test_after_a_refusal_the_rest_of_the_connection_is_not_read_as_a_request(camp: Camp, assignment: str) -> None:
    inner = upload(camp, assignment, part(b"{}", "manifest") + END)
    refused = upload(camp, "nothing", part(b'{"files": []}', "manifest") + inner, "Content-Length: 100000000")
    answer = ask(camp, refused)
    assert status_of(answer) in (400, 404)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("extension", [b";" + b"a" * 1000, b';a="' + b"b" * 1000 + b'"', b""])
def test_chunks_with_odd_extensions_are_the_same_content_or_refused(
    camp: Camp, assignment: str, whole: bytes, extension: bytes
) -> None:
    body = b"".join(b"1" + extension + b"\r\n" + whole[place : place + 1] + b"\r\n" for place in range(len(whole)))
    headers = ["Transfer-Encoding: chunked", "Connection: close"]
    answer = ask(camp, upload(camp, assignment, body + b"0\r\nTrailer: x\r\n\r\n", *headers))
    assert status_of(answer) in (200, 400)
    assert [entry["files"] for entry in kept(camp, assignment)] == [NOTEBOOK] * (status_of(answer) == 200)


def test_an_endless_chunk_extension_is_refused(camp: Camp, assignment: str) -> None:
    answer = ask(camp, upload(camp, assignment, b"1;" + b"a" * 1_000_000, "Transfer-Encoding: chunked"))
    assert status_of(answer) in (0, 400)
    assert kept(camp, assignment) == []


@pytest.mark.parametrize(
    "header", ["Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: gzip, identity"]
)
def test_a_compressed_body_is_refused_unopened(camp: Camp, assignment: str, whole: bytes, header: str) -> None:
    answer = ask(camp, upload(camp, assignment, whole, f"Content-Length: {len(whole)}", header))
    assert status_of(answer) == 415
    assert kept(camp, assignment) == []


@pytest.mark.parametrize(
    "header",
    [
        "Expect: 100-continue",
        "Range: bytes=0-3",
        "Content-Range: bytes 0-3/10",
        "X-HTTP-Method-Override: DELETE",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Upgrade: h2c",
        "X-Forwarded-User: teacher",
        "Authorization: token token-of-student2",
    ],
)
def test_headers_that_mean_something_elsewhere_change_nothing_here(
    camp: Camp, assignment: str, whole: bytes, header: str
) -> None:
    camp.by("student2")
    answer = ask(camp, upload(camp, assignment, whole, f"Content-Length: {len(whole)}", header, "Connection: close"))
    answer = answer.removeprefix(b"HTTP/1.1 100 \r\n\r\n").removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert status_of(answer) == 200, answer
    assert [(entry["student"], entry["files"]) for entry in kept(camp, assignment)] == [("student1", NOTEBOOK)]


def test_http_1_0_is_answered_and_closed(camp: Camp, assignment: str, whole: bytes) -> None:
    request = upload(camp, assignment, whole).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    assert status_of(ask(camp, request)) == 200
    assert len(kept(camp, assignment)) == 1


def test_a_key_given_twice_is_one_of_the_two_and_no_third(camp: Camp, assignment: str, whole: bytes) -> None:
    keys = [new_key(), new_key()]
    for _ in range(2):
        more = f"Idempotency-Key: {keys[1]}"
        request = upload(
            camp, assignment, whole, f"Content-Length: {len(whole)}", more, "Connection: close", key=keys[0]
        )
        assert status_of(ask(camp, request)) in (200, 400)
    assert len(kept(camp, assignment)) <= 1
