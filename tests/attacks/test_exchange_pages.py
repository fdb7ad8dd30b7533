"""Scripts in names, seen by whoever looks: the exchange's answers are data, and a browser runs nothing of them."""

from __future__ import annotations

import html
from urllib.parse import quote

import httpx
import pytest

from gpuclass.exchange.service import docs_page
from tests.attacks.raw import ask, head
from tests.exchange.conftest import NOTEBOOK, Camp, tree
from tests.exchange.streaming import send

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script>"
NAMES = [SCRIPT, '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "{{7*7}}", "${7*7}", "a\r\nSet-Cookie: x=1"]


def harmless(answer: httpx.Response) -> bool:
    """Whether a browser takes it for data that runs nothing."""
    policy = answer.headers.get("Content-Security-Policy", "")
    return (
        answer.headers.get("Content-Type", "application/json") == "application/json"
        and answer.headers["X-Content-Type-Options"] == "nosniff"
        and "default-src 'none'" in policy
        and "sandbox" in policy.split("; ")
        and "Set-Cookie" not in answer.headers
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_script_in_a_name_is_refused_or_comes_back_as_data(camp: Camp, assignment: str, name: str) -> None:
    teacher, student = camp.by("teacher"), camp.by("student1")
    person = {"first_name": name, "last_name": name, "email": name}
    quoted = quote(name, safe="")
    answers = [
        send(student, assignment, {name: b""}),
        send(student, assignment, {**NOTEBOOK, "a.txt": name.encode()}),
        student.post(f"api/submission/camp/{assignment}", data={"files": tree({name: b""})}),
        student.get(f"api/assignment/camp/{quoted}"),
        teacher.post(f"api/assignment/camp/{quoted}", data={"files": tree(NOTEBOOK)}),
        teacher.post("api/student/camp/scripted", data=person),
        teacher.get("api/students/camp"),
        teacher.get(f"api/submission/camp/{assignment}/student1"),
        teacher.delete("api/student/camp/scripted"),
    ]
    assert all(map(harmless, answers))
    assert {answer.status_code for answer in answers[2:4]} <= {400, 404, 200}
    listed = teacher.get("api/assignments/camp").json()["assignments"]
    assert not any(set('<>":\r\n') & set(each) for each in listed), "what a page would have to escape is no name"


def test_an_answer_to_nonsense_is_plain_text(camp: Camp) -> None:
    answer = ask(camp, f"GET /{SCRIPT} HTTP/1.1\r\n{SCRIPT}\r\n\r\n".encode())
    assert b"text/plain" in answer
    assert SCRIPT.encode() not in answer
    missing = ask(camp, head(camp, "api/%3Cscript%3E", "Connection: close", method="GET"))
    assert b"application/json" in missing
    assert b"<script>" not in missing


def test_the_docs_page_escapes_what_it_shows() -> None:
    call = {
        "summary": SCRIPT,
        "description": SCRIPT,
        "tags": [SCRIPT],
        "responses": {"200": {"description": SCRIPT}, "400": {"description": SCRIPT}},
    }
    info = {"title": SCRIPT, "version": SCRIPT, "description": SCRIPT}
    page = docs_page.render({"info": info, "paths": {f"/{SCRIPT}": {"get": call}}})
    assert SCRIPT not in page
    assert html.escape(SCRIPT) in page
