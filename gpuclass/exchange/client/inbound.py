"""What has come in, as instructors see it in lists and when they collect: late, sent offline, of which version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpuclass.exchange.client.plugin import Exchange


def remarks(exchange: Exchange, entry: Mapping[str, Any], newest: int) -> Iterator[str]:
    """What a teacher should know of one submission of the exchange's list, in the class's language and zone."""
    if entry["late"]:
        yield exchange.say("teach.late", due=f"{exchange.local(entry['due']):%Y-%m-%d %H:%M}")
    if entry["queued"]:
        yield exchange.say("teach.queued", time=f"{exchange.local(entry['queued']):%Y-%m-%d %H:%M}")
    if entry["version"] < newest:
        yield exchange.say("teach.version", version=entry["version"], newest=newest)


def listed(exchange: Exchange, assignment: str, student: str) -> list[dict[str, Any]]:
    """The submissions to an assignment in nbgrader's form, one entry for each student (all of them with ``*``)."""
    answer = exchange.connection.get("gpuclass", "v1", "submissions", exchange.course, assignment)
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in answer["submissions"]:
        if student in ("", "*", entry["student_id"]):
            made = _entry(exchange.course, assignment, entry)
            made["remarks"] = list(remarks(exchange, entry, answer["version"]))
            found.setdefault(entry["student_id"], []).append(made)
    return [
        {
            "course_id": exchange.course,
            "student_id": login,
            "assignment_id": assignment,
            "status": "submitted",
            "submissions": entries,
        }
        for login, entries in found.items()
    ]


def _entry(course: str, assignment: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    own = ("submission", "version", "late", "queued", "state", "score", "max_score")
    return {
        "course_id": course,
        "student_id": entry["student_id"],
        "assignment_id": assignment,
        "timestamp": entry["timestamp"],
        "status": "submitted",
        "path": "",
        "notebooks": [],
        "has_local_feedback": False,
        "has_exchange_feedback": False,
        "local_feedback_path": None,
        "feedback_updated": False,
        **{key: entry[key] for key in own},
    }
