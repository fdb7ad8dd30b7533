"""ngshare's REST API: its paths, fields, status codes and words, so that its clients work unchanged.

Source: https://ngshare.readthedocs.io (``docs/api``). One deviation: DELETE hides, it never erases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from gpuclass.exchange.names import UnsafeName, identifier
from gpuclass.exchange.opening import opening
from gpuclass.exchange.service.context import (
    Admin,
    Context,
    Exchange,
    InCourse,
    Name,
    Participant,
    Someone,
    Teacher,
    success,
)
from gpuclass.exchange.service.errors import Refusal, denied
from gpuclass.exchange.service.sending import TreeResponse
from gpuclass.exchange.service.uploads import Form
from gpuclass.exchange.store.courses import Member, Part
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.reading import has_assignment, notebooks
from gpuclass.exchange.store.store import AlreadyThere, File, NotFound, QuotaExceeded, Submission
from gpuclass.exchange.wire import read_time, show_time

router = APIRouter(prefix="/api", tags=["ngshare"])

ListOnly = Annotated[str, Query(description="`true`: paths and checksums without content")]


def form_fields(**fields: str) -> dict[str, Any]:
    """How an endpoint's form looks in OpenAPI."""
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    content = {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": properties}}}
    return {"requestBody": {"content": content}}


TREE = "JSON list of `{path, content}`, content in base64"
PERSON = form_fields(first_name="first name", last_name="last name", email="e-mail address")


# Courses


@router.get("/courses")
def list_courses(exchange: Exchange, caller: Someone) -> Response:
    """The courses the caller takes or teaches; all of them for an admin."""
    return success(courses=exchange.courses.all() if caller.admin else exchange.courses.of(caller.login))


@router.post("/course/{course}", openapi_extra=form_fields(instructors="JSON list of logins; optional"))
async def create_course(request: Request, exchange: Exchange, caller: Admin, course: Name) -> Response:
    """Make a course (admins)."""

    def create(form: Form) -> None:
        try:
            exchange.courses.create(course, _instructors(form.get("instructors", b"[]")))
        except AlreadyThere:
            raise Refusal(409, "Course already exists") from None

    await exchange.uploads.form(request, caller.login, create)
    return success()


@router.delete("/course/{course}")
def delete_course(exchange: Exchange, caller: Admin, course: Name) -> Response:
    """Hide a course (admins); nothing in it is erased."""
    exchange.courses.hide(course)
    return success()


def _instructors(text: bytes) -> list[str]:
    try:
        logins = json.loads(text)
    except (ValueError, RecursionError):
        logins = None
    if not isinstance(logins, list) or not all(isinstance(login, str) for login in logins):
        raise Refusal(400, "Instructors cannot be JSON decoded")
    return logins


# People


@router.post("/instructor/{course}/{login}", openapi_extra=PERSON)
async def put_instructor(request: Request, exchange: Exchange, here: Participant, login: Name) -> Response:
    """Add an instructor or change their names (admins); change one's own names (instructors)."""
    if not here.admin and not (here.teaches and here.login == login):
        raise denied()

    def put(form: Form) -> None:
        exchange.courses.put(here.course, _person(form, login, "instructor", "email name"))

    await exchange.uploads.form(request, here.login, put)
    return success()


@router.get("/instructor/{course}/{login}")
def get_instructor(here: Participant, login: Name) -> Response:
    """One instructor of the course."""
    return success(**_shown(_member(here, login, "instructor")))


@router.delete("/instructor/{course}/{login}")
def delete_instructor(exchange: Exchange, caller: Admin, here: Participant, login: Name) -> Response:
    """Take an instructor out of the course (admins)."""
    _member(here, login, "instructor")
    exchange.courses.remove(here.course, login)
    return success()


@router.get("/instructors/{course}")
def list_instructors(here: Participant) -> Response:
    """All instructors of the course."""
    return success(instructors=_all_shown(here, "instructor"))


@router.post("/student/{course}/{login}", openapi_extra=PERSON)
async def put_student(request: Request, exchange: Exchange, here: Teacher, login: Name) -> Response:
    """Add a student or change their names (instructors)."""
    _not_an_instructor(here, login)

    def put(form: Form) -> None:
        exchange.courses.put(here.course, _person(form, login, "student", "email"))

    await exchange.uploads.form(request, here.login, put)
    return success()


@router.get("/student/{course}/{login}")
def get_student(here: Participant, login: Name) -> Response:
    """One student (instructors; students themselves)."""
    _own_or_teacher(here, login)
    return success(**_shown(_member(here, login, "student")))


@router.delete("/student/{course}/{login}")
def delete_student(exchange: Exchange, here: Teacher, login: Name) -> Response:
    """Take a student out of the course (instructors); their submissions stay."""
    _member(here, login, "student")
    exchange.courses.remove(here.course, login)
    return success()


@router.post(
    "/students/{course}", openapi_extra=form_fields(students="JSON list of `{username, first_name, last_name, email}`")
)
async def put_students(request: Request, exchange: Exchange, here: Teacher) -> Response:
    """Add students or change their names (instructors); tells for each whether it was done."""

    def put(form: Form) -> list[dict[str, Any]]:
        return [_put_listed(exchange, here, entry) for entry in _students(form.get("students"))]

    return success(status=await exchange.uploads.form(request, here.login, put))


@router.get("/students/{course}")
def list_students(here: Teacher) -> Response:
    """All students of the course (instructors)."""
    return success(students=_all_shown(here, "student"))


def _students(text: bytes | None) -> list[dict[str, str]]:
    if not text:
        raise Refusal(400, "Please supply students")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(400, "Students cannot be JSON decoded") from None
    keys = {"username", "first_name", "last_name", "email"}
    if entries == []:
        raise Refusal(400, "Please supply students")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and keys <= entry.keys() and all(_is_text(entry[key]) for key in keys)
        for entry in entries
    ):
        raise Refusal(400, "Incorrect request format")
    return entries


def _is_text(value: Any) -> bool:
    """Whether it is a string of whole characters; an escape in JSON can be half a one, which cannot be written."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _put_listed(exchange: Context, here: InCourse, entry: dict[str, str]) -> dict[str, Any]:
    login = entry["username"]
    try:
        _not_an_instructor(here, login)
        names = {key: entry[key].encode() for key in ("first_name", "last_name", "email")}
        exchange.courses.put(here.course, _person(names, identifier(login), "student", "email"))
    except Refusal as refusal:
        return {"username": login, "success": False, "message": refusal.message}
    except UnsafeName as error:
        return {"username": login, "success": False, "message": str(error)}
    return {"username": login, "success": True}


def _person(form: Form, login: str, part: Part, email: str) -> Member:
    """Somebody as the form describes them; ``email`` is what ngshare calls the address when it is missing."""
    for key, shown in (("first_name", "first name"), ("last_name", "last name"), ("email", email)):
        if key not in form:
            raise Refusal(400, f"Please supply {shown}")
    first, last, address = (form[key].decode(errors="replace") for key in ("first_name", "last_name", "email"))
    return Member(identifier(login), part, first, last, address)


def _member(here: InCourse, login: str, part: Part) -> Member:
    member = here.members.get(login)
    if member is None or member.part != part:
        raise NotFound(part)
    return member


def _not_an_instructor(here: InCourse, login: str) -> None:
    member = here.members.get(login)
    if member is not None and member.part == "instructor":
        raise Refusal(409, "Cannot add instructor as student")


def _shown(member: Member) -> dict[str, str | None]:
    return {
        "username": member.login,
        "first_name": member.first_name,
        "last_name": member.last_name,
        "email": member.email,
    }


def _all_shown(here: InCourse, part: Part) -> list[dict[str, str | None]]:
    return [_shown(member) for member in here.members.values() if member.part == part]


def _own_or_teacher(here: InCourse, student: str) -> None:
    if not here.teaches and here.login != student:
        raise denied()


# Assignments


@router.get("/assignments/{course}")
def list_assignments(exchange: Exchange, here: Participant) -> Response:
    """Names of the course's assignments."""
    return success(assignments=exchange.store.assignments(here.course))


@router.get("/assignment/{course}/{assignment}")
def get_assignment(exchange: Exchange, here: Participant, assignment: Name, list_only: ListOnly = "false") -> Response:
    """The files of an assignment, as released last."""
    files = exchange.store.released_files(here.course, assignment)
    return _tree(exchange, files, list_only)


@router.post("/assignment/{course}/{assignment}", openapi_extra=form_fields(files=TREE))
async def release_assignment(request: Request, exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """Release an assignment (instructors)."""

    def release(form: Form) -> None:
        files = exchange.uploads.files(form)
        try:
            exchange.store.release(here.course, assignment, files, by=here.login)
        except AlreadyThere:
            raise Refusal(409, "Assignment already exists") from None

    await exchange.uploads.tree(request, here.login, release)
    return success()


@router.delete("/assignment/{course}/{assignment}")
def delete_assignment(exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """Hide an assignment (instructors). Its submissions are kept, and come back when it is released again."""
    exchange.store.hide_assignment(here.course, assignment)
    return success()


# Submissions


@router.get("/submissions/{course}/{assignment}")
def list_submissions(exchange: Exchange, here: Teacher, assignment: Name) -> Response:
    """All submissions to an assignment (instructors)."""
    return success(submissions=_listed(exchange.store.submissions(here.course, assignment)))


@router.get("/submissions/{course}/{assignment}/{student}")
def list_submissions_of_student(exchange: Exchange, here: Participant, assignment: Name, student: Name) -> Response:
    """One student's submissions to an assignment (instructors; students their own)."""
    _own_or_teacher(here, student)
    return success(submissions=_listed(_submissions_of(exchange, here, assignment, student)))


@router.post("/submission/{course}/{assignment}", openapi_extra=form_fields(files=TREE))
async def submit(request: Request, exchange: Exchange, here: Participant, assignment: Name) -> Response:
    """Submit. The answer is the receipt: what it names is on disk."""
    exchange.pacing.count_submission(here.login)
    if not await to_thread.run_sync(has_assignment, exchange.store, here.course, assignment):
        raise NotFound("assignment")  # before anything is read
    arrived: datetime = request.state.arrived

    def keep(form: Form) -> Submission:
        files = exchange.uploads.files(form)
        bounds = exchange.uploads.bounds
        try:
            return exchange.store.submit(
                here.course, assignment, here.login, files, received=arrived, quota=bounds.limits.student_limit
            )
        except QuotaExceeded as full:
            raise bounds.full(full.used) from None

    kept = await exchange.uploads.tree(request, here.login, keep)
    exchange.meters.kept(request, kept)
    return success(timestamp=show_time(kept.received), submission=kept.id, size=kept.size, sha256=kept.sha256)


@router.get("/submission/{course}/{assignment}/{student}")
def get_submission(
    exchange: Exchange,
    here: Teacher,
    assignment: Name,
    student: Name,
    timestamp: str | None = None,
    list_only: ListOnly = "false",
) -> Response:
    """The files of a student's submission (instructors): of the latest, or of the one with this timestamp."""
    submission = _find(exchange, here, assignment, student, timestamp or None)
    files = exchange.store.files(submission)
    return _tree(exchange, files, list_only, timestamp=show_time(submission.received))


# Feedback


@router.post(
    "/feedback/{course}/{assignment}/{student}",
    openapi_extra=form_fields(
        timestamp="the submission's timestamp",
        files=TREE,
        score="points, shown to the student; optional and not ngshare's",
        max_score="points that were to be had; likewise",
    ),
)
async def release_feedback(
    request: Request, exchange: Exchange, here: Teacher, assignment: Name, student: Name
) -> Response:
    """Give feedback on a submission (instructors), in place of earlier feedback."""

    def release(form: Form) -> None:
        timestamp = form.get("timestamp")
        if timestamp is None:
            raise Refusal(400, "Please supply timestamp")
        submission = _find(exchange, here, assignment, student, timestamp.decode(errors="replace"))
        files = exchange.uploads.files(form)
        score, max_score = _points(form, "score"), _points(form, "max_score")
        exchange.store.put_feedback(submission, files, released=True, score=score, max_score=max_score)

    await exchange.uploads.tree(request, here.login, release)
    return success()


@router.get("/feedback/{course}/{assignment}/{student}")
def get_feedback(
    exchange: Exchange,
    here: Participant,
    assignment: Name,
    student: Name,
    timestamp: str | None = None,
    list_only: ListOnly = "false",
) -> Response:
    """Feedback on a submission that its student may see (instructors; students their own); no files before.

    Students are given the pages of the assignment's notebooks and nothing else that was put beside them.
    """
    _own_or_teacher(here, student)
    _submissions_of(exchange, here, assignment, student)
    if timestamp is None:
        raise Refusal(400, "Please supply timestamp")
    submission = _find(exchange, here, assignment, student, timestamp)
    due = Deadlines(exchange.store).of(here.course, assignment).of(student)
    opened = opening(exchange.settings.grading.feedback, due, exchange.store.clock()) == "now"
    feedback = exchange.store.feedback(submission, released=not (here.teaches or opened))
    files = exchange.store.feedback_files(feedback) if feedback is not None and (opened or feedback.released) else ()
    if not here.teaches:
        files = known_pages(files, notebooks(exchange.store, here.course, assignment))
    return _tree(exchange, files, list_only, timestamp=show_time(submission.received))


def known_pages(given: Iterable[File], released: Iterable[str]) -> tuple[File, ...]:
    """Of feedback's files the pages of notebooks that are or were released: ``<notebook>.html``."""
    pages = {path.removesuffix(".ipynb") + ".html" for path in released}
    return tuple(file for file in given if file.path in pages)


def _submissions_of(exchange: Context, here: InCourse, assignment: str, student: str) -> list[Submission]:
    """A student's submissions; somebody who left the course is found as long as there are some."""
    found = exchange.store.submissions(here.course, assignment, student)
    if not found and student not in here.members:
        raise NotFound("student")
    return found


def _find(exchange: Context, here: InCourse, assignment: str, student: str, timestamp: str | None) -> Submission:
    found = _submissions_of(exchange, here, assignment, student)
    if timestamp is not None:
        received = _moment(timestamp)
        found = [submission for submission in found if submission.received == received]
    if not found:
        raise NotFound("submission")
    return found[-1]


def _moment(text: str) -> datetime:
    """A time as a client sends it back: ngshare itself leaves the zone out, and takes it with and without."""
    try:
        return read_time(text if text.endswith(" UTC") else f"{text.strip()} UTC")
    except ValueError:
        raise Refusal(400, "Time format incorrect") from None


def _points(form: Form, field: str) -> float | None:
    """A number of points; None if there is none, or it is no number."""
    try:
        points = float(form.get(field, b""))
    except ValueError:
        return None
    return points if math.isfinite(points) else None


def _listed(submissions: Iterable[Submission]) -> list[dict[str, str]]:
    return [
        {"student_id": submission.student, "timestamp": show_time(submission.received)} for submission in submissions
    ]


def _tree(exchange: Context, files: Iterable[File], list_only: str, **content: Any) -> Response:
    """The answer with an encoded directory tree, after what else it says."""
    if list_only == "true":
        return success(**content, files=[{"path": file.path, "checksum": file.md5} for file in files])
    return TreeResponse(exchange.store, files, **content)
