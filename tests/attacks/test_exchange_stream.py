"""The streaming upload, attacked: cut anywhere, raced, and forms that are not what they seem.

Whatever comes, either there is a receipt and the store has exactly what the manifest says, or there is nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks.raw import BOUNDARY, END, ask, connected, kept, part, status_of, upload
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import manifest, new_key, send

pytestmark = pytest.mark.slow

CONTENT = {"a.ipynb": b'{"cells": []}' * 9000, "data/b.bin": bytes(range(256)) * 400}


def announced(files: dict[str, bytes], **more: Any) -> bytes:
    """The manifest's part."""
    return part(json.dumps(manifest(files, **more)).encode(), "manifest")


def body_of(files: dict[str, bytes]) -> bytes:
    """A whole honest form."""
    return announced(files) + b"".join(map(part, files.values())) + END


def leftovers(camp: Camp) -> list[str]:
    return [path.name for path in camp.settings.exchange_folder.glob("incoming/*/*")]


def nothing_left(camp: Camp) -> bool:
    """Whether what is in the making is gone, at the latest soon."""
    for _ in range(100):
        if not leftovers(camp):
            return True
        time.sleep(0.02)
    return False


def cut(camp: Camp, request: bytes, offset: int, how: str) -> None:
    """Send that much of a request, and be gone."""
    with connected(camp) as connection:
        connection.sendall(request[:offset])
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "half":
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):
                pass


REQUEST_SIZE = 240_000  # more than the whole; what is drawn beyond it is the whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, REQUEST_SIZE) | st.integers(0, 900), how=st.sampled_from(["close", "reset", "half"]))
def test_a_request_cut_at_any_byte_and_sent_again_is_one_whole_submission(
    camp: Camp, assignment: str, offset: int, how: str
) -> None:
    key = new_key()
    before = len(kept(camp, assignment))
    request = upload(camp, assignment, body_of(CONTENT), key=key)
    cut(camp, request, offset, how)
    while (again := send(camp.by("student1"), assignment, CONTENT, key)).status_code == 429:
        time.sleep(0.02)  # the service has not noticed yet
    receipt = again.json()
    stored = kept(camp, assignment)
    assert len(stored) == before + 1
    assert (stored[-1]["id"], stored[-1]["files"]) == (receipt["submission"], CONTENT)
    assert not receipt["again"] or offset >= len(request) - len(END)
    assert nothing_left(camp)


def test_two_contents_under_one_key_at_the_same_moment_are_one_submission(camp: Camp, assignment: str) -> None:
    contents = [{"a.bin": os.urandom(500_000)} for _ in range(2)]
    client = camp.by("student1")
    for _ in range(5):
        key, start = new_key(), threading.Barrier(2)
        before = len(kept(camp, assignment))

        def press(files: dict[str, bytes], key: str = key, start: threading.Barrier = start) -> httpx.Response:
            with httpx.Client(base_url=client.base_url, headers=client.headers) as own:
                start.wait()
                return send(own, assignment, files, key)

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(press, contents))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        stored = kept(camp, assignment)[before:]
        [winner] = [files for files, answer in zip(contents, answers, strict=True) if answer.is_success]
        assert [entry["files"] for entry in stored] == [winner]


def test_a_key_of_another_student_tells_nothing_and_takes_nothing_away(camp: Camp, assignment: str) -> None:
    key = new_key()
    first = send(camp.by("student1"), assignment, {"a.bin": b"mine"}, key).json()
    second = send(camp.by("student2"), assignment, {"a.bin": b"guessed"}, key)
    third = send(camp.by("student2"), assignment, {"a.bin": b"mine"}, key)
    assert (second.status_code, second.json()["again"]) == (200, False)
    assert third.status_code == 409  # their own first press
    assert second.json()["submission"] != first["submission"]
    assert [(entry["student"], entry["files"]["a.bin"]) for entry in kept(camp, assignment)] == [
        ("student1", b"mine"),
        ("student2", b"guessed"),
    ]


FILE = {"a.bin": b"honest"}
INNER = b'--inner\r\nContent-Disposition: form-data; name="file"\r\n\r\nhonest\r\n--inner--\r\n'
DELIMITER = b"\r\n--" + BOUNDARY

FORMS: dict[str, bytes] = {
    "the manifest comes last": part(b"honest") + announced(FILE) + END,
    "the manifest comes twice": announced(FILE) + announced({"b.bin": b"other"}) + part(b"honest") + END,
    "the manifest comes again at the end": announced(FILE) + part(b"honest") + announced(FILE) + END,
    "the file comes twice": announced(FILE) + part(b"honest") + part(b"honest") + END,
    "the file has another name": announced(FILE) + part(b"honest", "files") + END,
    "the file has no name": announced(FILE) + part(b"honest").replace(b'; name="file"', b"") + END,
    "a form within the form": announced(FILE)
    + part(INNER, "file", b"Content-Type: multipart/mixed; boundary=inner")
    + END,
    "base64 by its header": announced(FILE) + part(b"aG9uZXN0", "file", b"Content-Transfer-Encoding: base64") + END,
    "compressed by its header": announced(FILE)
    + part(b"\x1f\x8b" + b"x" * 20, "file", b"Content-Encoding: gzip")
    + END,
    "a delimiter within the file": announced(FILE) + part(b"hon" + DELIMITER + b"\r\n\r\nest") + END,
    "a closing delimiter within the file": announced(FILE) + part(b"hon" + DELIMITER + b"--\r\nest") + END,
    "a thousand headers": announced(FILE) + part(b"honest", "file", *[b"X: y"] * 1000) + END,
    "a header without end": announced(FILE) + b"--" + BOUNDARY + b"\r\nX: " + b"y" * 1_000_000,
    "a header's name without end": announced(FILE) + b"--" + BOUNDARY + b"\r\n" + b"y" * 1_000_000,
    "no end": announced(FILE) + part(b"honest"),
    "nothing but newlines": b"\r\n" * 500_000,
    "nothing but delimiters": (b"--" + BOUNDARY + b"\r\n\r\n\r\n") * 20_000,
    "nothing": b"",
    "the manifest is nested 100,000 deep": part(b"[" * 100_000 + b"]" * 100_000, "manifest") + END,
    "the files are nested": part(b'{"files": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "manifest") + END,
    "the manifest is not JSON": part(b"PK\x03\x04", "manifest") + END,
    "the manifest is in UTF-16": part(json.dumps(manifest(FILE)).encode("utf-16"), "manifest") + part(b"honest") + END,
    "a size of 1e400": part(b'{"files": [{"path": "a", "size": 1e400, "sha256": "00"}]}', "manifest") + END,
    "a size of 5000 digits": part(
        b'{"files": [{"path": "a", "size": ' + b"9" * 5000 + b', "sha256": "' + b"0" * 64 + b'"}]}', "manifest"
    )
    + END,
    "100,000 files": part(
        json.dumps({"files": [{"path": "a", "size": 0, "sha256": "0" * 64}] * 10_000}).encode(), "manifest"
    )
    + END,
    "the same file twice": part(json.dumps({"files": manifest(FILE)["files"] * 2}).encode(), "manifest")
    + part(b"honest") * 2
    + END,
    "another's size": announced({"a.bin": b"honesty"}) + part(b"honest") + END,
    "another's hash": announced({"a.bin": b"HONEST"}) + part(b"honest") + END,
    "less than nothing": announced(FILE).replace(b'"size": 6', b'"size": -6') + part(b"honest") + END,
    "a hash in upper case": announced(FILE).replace(
        hashlib.sha256(b"honest").hexdigest().encode(), hashlib.sha256(b"honest").hexdigest().upper().encode()
    )
    + part(b"honest")
    + END,
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_not_what_it_seems_is_refused_and_leaves_nothing(camp: Camp, assignment: str, name: str) -> None:
    body = FORMS[name]
    answer = ask(camp, upload(camp, assignment, body, f"Content-Length: {len(body)}", "Connection: close"))
    assert 400 <= status_of(answer) < 500, answer
    assert b'"success":false' in answer
    assert kept(camp, assignment) == []
    assert nothing_left(camp)


HONEST: dict[str, bytes] = {
    "a file name that is a path": part(b"honest").replace(b'"file"', b'"file"; filename="../../../etc/passwd"'),
    "a file name that is absolute": part(b"honest").replace(b'"file"', b'"file"; filename="/etc/passwd"'),
    "a file name with NUL": part(b"honest").replace(b'"file"', b'"file"; filename="a%00.html"'),
    "another file name in another alphabet": part(b"honest").replace(
        b'"file"', b"\"file\"; filename*=UTF-8''%2e%2e%2fx"
    ),
    "another type": part(b"honest", "file", b"Content-Type: text/html"),
    "another length": part(b"honest", "file", b"Content-Length: 1"),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_a_part_says_of_itself_beside_the_manifest_counts_for_nothing(
    camp: Camp, assignment: str, name: str
) -> None:
    body = announced(FILE) + HONEST[name] + END
    answer = ask(camp, upload(camp, assignment, body, f"Content-Length: {len(body)}", "Connection: close"))
    assert status_of(answer) == 200, answer
    assert [entry["files"] for entry in kept(camp, assignment)] == [FILE]


@pytest.mark.parametrize("tail", [b"\r\n", b"junk" * 1000, part(b"more") + END])
def test_what_follows_the_end_of_the_form_is_thrown_away(camp: Camp, assignment: str, tail: bytes) -> None:
    body = body_of(FILE) + tail
    answer = ask(camp, upload(camp, assignment, body, f"Content-Length: {len(body)}", "Connection: close"))
    assert status_of(answer) in (200, 400)
    assert [entry["files"] for entry in kept(camp, assignment)] == [FILE] * (status_of(answer) == 200)


@pytest.mark.parametrize(
    "queued",
    [
        "9999-12-31 23:59:59.999999 UTC",
        "0001-01-01 00:00:00.000000 UTC",
        "1999-01-01 00:00:00.000000 UTC",
        "2026-11-23 09:00:00.000000 KST",
        "<script>alert(1)</script> UTC",
        "2" * 10_000,
        253402300800,
        True,
        {"a": 1},
    ],
)
def test_a_claim_of_having_pressed_earlier_moves_nothing(camp: Camp, assignment: str, queued: Any) -> None:
    """It is refused or kept as a remark; the time of a submission is the server's, and teachers' lists still work."""
    answer = send(camp.by("student1"), assignment, NOTEBOOK, queued=queued)
    listed = camp.by("teacher").get(f"gpuclass/v1/submissions/camp/{assignment}").json()
    if answer.is_success:
        assert "2026-11" < answer.json()["timestamp"] <= listed["now"]
        assert answer.json()["queued"] is None or answer.json()["queued"] <= listed["now"], "nobody pressed tomorrow"
    else:
        assert answer.status_code == 400
        assert listed["submissions"] == []


@pytest.mark.parametrize("version", [0, -1, 2, 10**6, 2**31, 2**63, 2**70, "1", 1.5, True, "' OR 1=1 --"])
def test_a_version_that_there_is_not_is_refused_or_the_newest(camp: Camp, assignment: str, version: Any) -> None:
    answer = send(camp.by("student1"), assignment, NOTEBOOK, version=version)
    assert answer.status_code == 400 or answer.json()["version"] == 1


def test_many_keys_are_as_many_submissions_as_a_minute_allows(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        assert camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)}).is_success
        answers = [send(camp.by("student1"), "one", NOTEBOOK).status_code for _ in range(60)]
        assert answers.count(200) == camp.settings.exchange.per_minute
        assert set(answers) == {200, 429}
        assert send(camp.by("student2"), "one", NOTEBOOK).status_code == 200
