"""What the desk makes of a report: anybody's code can post one, so it is bounded and believed for its sender only."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.desk.reports import BODY_LIMIT, CLASSES_LIMIT, COUNT_LIMIT, KEPT, BadReportError, Report, Reports, parse

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
KNOWN = {"00-warm-up", "01-pixels-to-tensors"}
SENT: dict[str, Any] = {
    "session": "01-pixels-to-tensors",
    "kind": "exercise",
    "cells": 12,
    "errors": [{"class": "ValueError", "count": 3}, {"class": "NameError", "count": 5}],
    "repeated": 3,
    "busy": True,
    "at": "2026-12-01T08:59:59+00:00",
}


def parsed(**changed: Any) -> Report:
    return parse(json.dumps(SENT | changed).encode(), KNOWN, NOW)


def test_a_report_says_where_somebody_is_and_what_goes_wrong() -> None:
    report = parsed()
    assert (report.session, report.kind, report.cells, report.repeated, report.busy) == (
        "01-pixels-to-tensors",
        "exercise",
        12,
        3,
        True,
    )
    assert [(error.name, error.count) for error in report.errors] == [("NameError", 5), ("ValueError", 3)]


def test_the_time_is_the_desks_own() -> None:
    assert parsed(at="2126-01-01T00:00:00+00:00").at == NOW
    assert parsed(at={"not": "a time"}).at == NOW


@pytest.mark.parametrize("name", ["일기", "../etc", "<script>alert(1)</script>", "", "01-PIXELS-TO-TENSORS"])
def test_the_name_of_a_folder_that_is_no_session_is_forgotten(name: str) -> None:
    report = parsed(session=name)
    assert (report.session, report.kind) == ("", "")
    assert report.cells == 12


@pytest.mark.parametrize(
    "name", ["", "a b", "x" * 61, "<b>", "오류", "ValueError\n", "1st", "a.b", 3, None, ["ValueError"]]
)
def test_an_error_class_is_a_plain_identifier(name: object) -> None:
    with pytest.raises(BadReportError):
        parsed(errors=[{"class": name, "count": 1}])


def test_counts_are_kept_within_their_limits() -> None:
    report = parsed(cells=10**300, repeated=-4, errors=[{"class": "E", "count": 10**9}, {"class": "F", "count": -1}])
    assert (report.cells, report.repeated) == (COUNT_LIMIT, 0)
    assert [(error.name, error.count) for error in report.errors] == [("E", COUNT_LIMIT)]


def test_a_class_that_is_named_twice_is_counted_once_and_few_are_kept() -> None:
    twice = parsed(errors=[{"class": "E", "count": 2}, {"class": "E", "count": 3}])
    assert [(error.name, error.count) for error in twice.errors] == [("E", 5)]
    many = parsed(errors=[{"class": f"E{number}", "count": number} for number in range(1, 30)])
    assert [error.name for error in many.errors] == [f"E{number}" for number in range(29, 29 - CLASSES_LIMIT, -1)]


@pytest.mark.parametrize(
    "changed",
    [
        {"cells": "12"},
        {"cells": 1.5},
        {"cells": True},
        {"cells": None},
        {"busy": "yes"},
        {"busy": 1},
        {"session": 3},
        {"kind": "secret"},
        {"errors": {"ValueError": 3}},
        {"errors": [["ValueError", 3]]},
        {"errors": [{"class": "ValueError"}]},
    ],
)
def test_a_wrong_type_is_no_report(changed: dict[str, object]) -> None:
    with pytest.raises(BadReportError):
        parsed(**changed)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 4000, b"1" * 4000, b'{"cells":1'])
def test_what_is_not_json_of_that_form_is_no_report(body: bytes) -> None:
    with pytest.raises(BadReportError):
        parse(body, KNOWN, NOW)


def test_a_body_that_is_too_large_is_not_looked_at() -> None:
    body = json.dumps(SENT).encode()
    assert parse(body.ljust(BODY_LIMIT), KNOWN, NOW).cells == 12
    with pytest.raises(BadReportError, match="4096 bytes"):
        parse(body.ljust(BODY_LIMIT + 1), KNOWN, NOW)


def test_what_else_is_sent_along_is_not_kept() -> None:
    report = parsed(code="print('mine')", errors=[{"class": "ValueError", "count": 1, "text": "mine"}])
    assert "mine" not in repr(report) + json.dumps(report.as_json()) + report.told("ko")


def test_why_a_report_was_refused_does_not_quote_it() -> None:
    with pytest.raises(BadReportError) as refused:
        parsed(cells="mine", kind="mine", mine="mine")
    assert "mine" not in str(refused.value)
    assert refused.value.__cause__ is None


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*SENT]), inner, max_size=7),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_posted_is_a_report_within_its_limits_or_refused(body: bytes) -> None:
    try:
        report = parse(body, KNOWN, NOW)
    except BadReportError:
        return
    assert report.session in KNOWN | {""}
    assert 0 <= report.cells <= COUNT_LIMIT
    assert len(report.errors) <= CLASSES_LIMIT
    assert all(error.name.isidentifier() and error.name.isascii() for error in report.errors)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_the_newest_report_of_each_login_is_kept() -> None:
    clock = Clock()
    reports = Reports(KNOWN, clock)
    for cells in range(5):
        clock.now += timedelta(seconds=2)
        reports.take("s001", json.dumps(SENT | {"cells": cells}).encode())
    reports.take("s002", json.dumps(SENT).encode())
    assert {login: report.cells for login, report in reports.all().items()} == {"s001": 4, "s002": 12}
    reports.drop("s002")
    assert reports.get("s002") is None


def test_a_refused_report_leaves_the_last_one() -> None:
    reports = Reports(KNOWN, Clock())
    reports.take("s001", json.dumps(SENT).encode())
    with pytest.raises(BadReportError):
        reports.take("s001", b"{}")
    assert (kept := reports.get("s001"))
    assert kept.cells == 12


def test_reports_are_forgotten_after_a_days_lessons() -> None:
    clock = Clock()
    reports = Reports(KNOWN, clock)
    reports.take("s001", json.dumps(SENT).encode())
    clock.now += KEPT / 2
    reports.take("s002", json.dumps(SENT).encode())
    clock.now += KEPT / 2 + timedelta(seconds=1)
    assert reports.get("s001") is None
    assert list(reports.all()) == ["s002"]


def test_a_server_that_is_silent_is_told_from_one_that_reports() -> None:
    report = parsed()
    assert not report.late(NOW + timedelta(seconds=60))
    assert report.late(NOW + timedelta(seconds=120))


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "ko",
            ["01-pixels-to-tensors (과제)", "12번", "NameError 5번, ValueError 3번", "이어서 3번", "실행되고 있어요"],
        ),
        ("en", ["01-pixels-to-tensors (exercise)", "12", "NameError × 5, ValueError × 3", "3 times", "is running"]),
    ],
)
def test_the_student_is_told_all_that_is_kept(language: str, expected: list[str]) -> None:
    lines = parsed().told(language).splitlines()
    assert len(lines) == 6
    for line, words in zip(lines, expected, strict=False):
        assert words in line


@pytest.mark.parametrize("language", ["ko", "en"])
def test_every_field_of_a_report_but_its_time_changes_what_the_student_is_told(language: str) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"session": "00-warm-up"},
        {"session": ""},
        {"kind": "lecture"},
        {"cells": 13},
        {"errors": []},
        {"repeated": 4},
        {"repeated": 0},
        {"busy": False},
    ]
    assert len({parsed(**changed).told(language) for changed in changes}) == len(changes)
