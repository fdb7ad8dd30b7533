"""The OpenAPI description is true: made-up requests by everybody who may ask, and every answer is one it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gpuclass.exchange.service.app import PREFIX
from gpuclass.exchange.service.openapi import ANSWERS, OPEN, TEXT
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import send

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
KNOWN = {
    "course": ("camp", "camp", "camp", "new course"),
    "assignment": ("one", "one", "one", "two", "새 과제"),
    "student": ("student1", "student2", "teacher"),
    "login": ("student1", "student3", "teacher", "newcomer"),
    "job_id": (1, 1, 2, 10**30),
    "check_id": (1, 1, 2, 10**30),
    "batch": (1, 1, 2, 10**30),
}  # names that there are, mostly: of names that were made up nothing but 404 would come
FIELDS = {
    "files": (tree(NOTEBOOK), tree({"a/b.txt": b"", "노트.ipynb": b"{}"}), tree({"../a": b""}), "[]", "[{}]"),
    "students": (
        json.dumps([{"username": "newcomer", "first_name": "", "last_name": "가", "email": "x"}]),
        json.dumps([{"username": "a+b", "first_name": "", "last_name": "", "email": ""}]),
        json.dumps([{"username": "\ud800", "first_name": "", "last_name": "", "email": ""}]),
    ),
    "instructors": ('["teacher"]', "[]", "[1]", '["\\ud800"]'),
    "due": ("2026-11-24 09:00:00.000000 UTC", "2026-11-24T18:00+09:00", "", "0001-01-01T00:00+14:00"),
    "score": ("1.5", "nan", "1e999"),
}
EXAMPLES = 12  # of each call by each person


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camp]:
    """A class of whose requests none is too many."""
    with running(tmp_path_factory.mktemp("api"), per_minute=10_000) as camp:
        yield camp


def fill(camp: Camp) -> None:
    """See to it that there is something to read, whatever was hidden before."""
    operator, teacher = camp.by("operator"), camp.by("teacher")
    operator.post("api/course/camp")
    operator.post("api/instructor/camp/teacher", data=dict.fromkeys(("first_name", "last_name", "email"), ""))
    teacher.post("api/student/camp/student1", data=dict.fromkeys(("first_name", "last_name", "email"), ""))
    teacher.post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)})
    stamp = send(camp.by("student1"), "one", NOTEBOOK, "the-same-press").json()["timestamp"]
    fields = {"timestamp": stamp, "files": tree({"warm-up.html": b"<p>"}), "score": "1", "max_score": "2"}
    teacher.post("api/feedback/camp/one/student1", data=fields)
    teacher.put("gpuclass/v1/deadline/camp/one", data={"due": "2020-01-01T00:00Z"})
    teacher.put("gpuclass/v1/deadline/camp/one/student2", data={"due": "2020-01-02T00:00Z"})
    KNOWN_TIMES[:] = [stamp, "noon"]


KNOWN_TIMES: list[str] = []


def pick(options: Any, by: object) -> Any:
    """One of them, or None, as what was made up decides; the same for the same."""
    number = sum(map(ord, repr(by)))
    return None if number % 4 == 0 else options[number % len(options)]


def make_likely(case: Any) -> None:
    """Put names and fields that mean something in the place of most of what was made up."""
    for name, value in dict(case.path_parameters or {}).items():
        known = pick(KNOWN[name], (value, case.body, case.query))
        if known is not None:
            case.path_parameters[name] = known
    if isinstance(case.query, dict) and "timestamp" in case.query:
        case.query["timestamp"] = pick(KNOWN_TIMES, case.query) or case.query["timestamp"]
    if isinstance(case.body, dict) and case.media_type == "application/x-www-form-urlencoded":
        for name, value in dict(case.body).items():
            options = KNOWN_TIMES if name == "timestamp" else FIELDS.get(name, ())
            known = pick(options, (name, value)) if options else None
            if known is not None:
                case.body[name] = known


@pytest.mark.parametrize("login", ["student1", "teacher", "operator"])
def test_made_up_requests_get_answers_that_are_described(api: Camp, login: str) -> None:
    client = api.by(login)  # registers the token
    url = f"{api.settings.exchange_url}/openapi.json"
    schema = schemathesis.openapi.from_url(url)
    seen: dict[int, int] = {}
    for result in schema.get_all_operations():
        fill(api)
        operation = result.ok()  # type: ignore[union-attr]  # an error of the description fails here

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def answers_are_described(case: Any) -> None:
            make_likely(case)
            response = case.call(headers={"Authorization": client.headers["Authorization"]}, timeout=30)
            seen[response.status_code] = seen.get(response.status_code, 0) + 1
            case.validate_response(response, checks=CHECKS)

        answers_are_described()
    print(login, dict(sorted(seen.items())))  # what was reached
    assert seen.keys() >= {200, 400, 404}


def test_every_call_has_its_answer_described_and_no_answer_is_of_a_call_that_is_gone(api: Camp) -> None:
    paths = api.by("student1").get("openapi.json").json()["paths"]
    calls = {f"{method.upper()} {path.removeprefix(PREFIX)}" for path, methods in paths.items() for method in methods}
    assert calls == {*ANSWERS, TEXT}
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"]
            is_open = f"{method.upper()} {path.removeprefix(PREFIX)}" == OPEN
            assert operation["security"] == ([] if is_open else [{"token": []}])
