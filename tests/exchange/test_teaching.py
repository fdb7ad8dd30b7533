"""An instructor's commands against the real service: deadlines, late and queued submissions, corrected versions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.exchange import ExchangeError

from gpuclass.curriculum.building import EXERCISES, exercise_files, session_names
from gpuclass.exchange.client import checking
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.wire import FEEDBACK_MARK, show_time
from gpuclass.grader.course import Course
from tests.exchange.conftest import NOTEBOOK, Camp, running
from tests.exchange.test_client import Desk, contents, write
from tests.grader.courses import cell, notebook

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's own, in add_submission
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its gradebook closes connections when collected
]

HOUR = timedelta(hours=1)
SIX = datetime(2026, 11, 23, 9, tzinfo=UTC)  # 18:00 in Seoul


@pytest.fixture
def teacher(camp: Camp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")  # the gradebook starts alembic from there
    return Desk(camp, "teacher", tmp_path / "course", monkeypatch)


@pytest.fixture
def store(camp: Camp) -> Iterator[Store]:
    with Store(camp.settings.exchange_folder) as store:
        yield store


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO")
    return caplog


def gradebook(teacher: Desk) -> Gradebook:
    return Gradebook(f"sqlite:///{teacher.folder}/gradebook.db", "camp")


def plan(teacher: Desk, name: str, due: datetime | None, source: str = "assert x", shown: str = "assert x") -> None:
    """An assignment in the gradebook and in release/, as generate_assignment leaves them."""
    known = {"grade": True, "locked": True, "points": 1}
    with gradebook(teacher) as made:
        made.update_or_create_assignment(name, duedate=due and due.replace(tzinfo=None))
        made.update_or_create_notebook("warm-up", name)
        made.update_or_create_source_cell("test", "warm-up", name, source=source, cell_type="code", locked=True)
    text = nbformat.writes(notebook(cell("code", shown, "test", **known)))
    write(teacher.folder / "release" / name, {"warm-up.ipynb": text.encode()})


def deadline(store: Store, name: str) -> Deadline:
    return Deadlines(store).of("camp", name)


def name_of(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:60]


def test_the_gradebooks_due_date_goes_along_with_the_release(
    teacher: Desk, store: Store, said: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    plan(teacher, name, SIX)
    teacher.do("ReleaseAssignment", name)
    assert deadline(store, name) == Deadline(SIX)
    assert f"Due: {name} · 2026-11-23 18:00 (Asia/Seoul)" in said.text


def test_a_release_without_a_due_date_takes_no_deadline_away(
    teacher: Desk, store: Store, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    plan(teacher, name, None)
    teacher.do("ReleaseAssignment", name)
    assert deadline(store, name) == Deadline()
    Deadlines(store).put("camp", name, SIX, by="operator")
    teacher.do("ReleaseAssignment", name, force=True)
    assert deadline(store, name) == Deadline(SIX)


def test_a_deadline_that_students_were_told_is_not_moved_by_a_corrected_version(
    teacher: Desk, store: Store, said: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    plan(teacher, name, SIX)
    teacher.do("ReleaseAssignment", name)
    Deadlines(store).put("camp", name, SIX + HOUR, by="operator")
    teacher.do("ReleaseAssignment", name, force=True)
    assert deadline(store, name).due == SIX + HOUR
    assert "due 2026-11-23 18:00 (Asia/Seoul) by the gradebook, 2026-11-23 19:00 (Asia/Seoul)" in said.text


def test_a_course_without_a_gradebook_gets_none_by_releasing(teacher: Desk, request: pytest.FixtureRequest) -> None:
    write(teacher.folder / "release" / name_of(request), NOTEBOOK)
    teacher.do("ReleaseAssignment", name_of(request))
    assert not (teacher.folder / "gradebook.db").exists()


def test_a_corrected_version_is_numbered_and_says_how_many_answered_an_earlier_one(
    teacher: Desk, store: Store, said: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    write(teacher.folder / "release" / name, NOTEBOOK)
    teacher.do("ReleaseAssignment", name)
    assert f"Released: {name}, version 1" in said.text
    for student in ("student1", "student1", "student2"):
        store.submit("camp", name, student, NOTEBOOK)
    teacher.do("ReleaseAssignment", name, force=True)
    assert f"Released: {name}, version 2" in said.text
    assert "3 submissions of 2 students answered an earlier version" in said.text


def test_a_version_that_comes_after_hiding_has_its_own_number(
    teacher: Desk, said: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    write(teacher.folder / "release" / name, NOTEBOOK)
    teacher.do("ReleaseAssignment", name)
    teacher.do("List", name, remove=True)
    teacher.do("ReleaseAssignment", name)  # as Formgrader's button, which does not force
    assert f"Released: {name}, version 2" in said.text


def test_what_is_too_large_to_release_is_told_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "camp").mkdir()
    with running(tmp_path / "camp", file_limit="100K", submission_limit="150K") as small:
        desk = Desk(small, "teacher", tmp_path / "course", monkeypatch)
        data = {"warm-up.ipynb": b"{}", "a.ipynb": b" " * 90_000, "b.ipynb": b" " * 90_000}
        write(desk.folder / "release" / "big", data)
        with pytest.raises(
            ExchangeError, match=r"Not released\. All files together have 0\.2 MB; a submission may have"
        ):
            desk.do("ReleaseAssignment", "big")


DEFAULT = "assert x\n### BEGIN HIDDEN TESTS\nassert y\n### END HIDDEN TESTS"


@pytest.mark.parametrize(
    ("source", "shown", "released"),
    [
        (DEFAULT, "assert x", True),
        ("assert x\n# <<<\nassert y\n# >>>", "assert x", False),
        ("assert x\nassert y", "assert x", False),
        ("assert x\n### BEGIN HIDDEN TESTS\nassert y", "assert x", False),
    ],
    ids=["usual", "own-delimiters", "by-hand", "half"],
)
def test_what_feedback_would_show_beyond_the_release_stops_the_release(
    teacher: Desk, camp: Camp, source: str, shown: str, released: bool, request: pytest.FixtureRequest
) -> None:
    name = f"hiding {request.node.callspec.id}"
    plan(teacher, name, None, source, shown)
    if released:
        teacher.do("ReleaseAssignment", name)
    else:
        with pytest.raises(ExchangeError, match="would show what students do not see now in warm-up/test"):
            teacher.do("ReleaseAssignment", name)
    assert (name in camp.by("teacher").get("api/assignments/camp").json()["assignments"]) is released


@pytest.mark.parametrize("exercise", session_names(EXERCISES))
def test_every_exercise_of_the_curriculum_can_be_released(teacher: Desk, store: Store, exercise: str) -> None:
    for path, content in exercise_files((exercise,)).items():
        write(teacher.folder / "source", {path: content})
    Course(teacher.folder, "camp", "en").prepare(exercise)  # nbgrader's generate_assignment
    with gradebook(teacher) as made:
        made.update_or_create_assignment(exercise, duedate=SIX.replace(tzinfo=None))
        known = made.find_assignment(exercise).notebooks
        assert any("BEGIN HIDDEN TESTS" in cell.source for each in known for cell in each.source_cells)
    teacher.do("ReleaseAssignment", exercise)
    assert deadline(store, exercise) == Deadline(SIX)


def collected(teacher: Desk, name: str, student: str) -> bytes:
    return contents(teacher.folder / "submitted" / student / name)["warm-up.ipynb"]


def test_collecting_what_is_in_time_goes_by_the_exchanges_deadline_and_extensions(
    teacher: Desk, store: Store, assignment: str, said: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)
    for student in ("student1", "student2"):
        for text, when in ((b"early", now - 2 * HOUR), (b"late", now)):
            store.submit("camp", assignment, student, {"warm-up.ipynb": text}, received=when)
    store.submit("camp", assignment, "student3", {"warm-up.ipynb": b"late"}, received=now)
    Deadlines(store).put("camp", assignment, now - HOUR, by="teacher")
    Deadlines(store).put("camp", assignment, now + HOUR, by="teacher", student="student2")
    with gradebook(teacher) as made:
        made.update_or_create_assignment(assignment, duedate=now.replace(tzinfo=None) + HOUR)  # not the authority
    teacher.do("Collect", assignment, before_duedate=True)
    students = ("student1", "student2", "student3")
    assert [collected(teacher, assignment, student) for student in students] == [b"early", b"late", b"late"]
    late = [record.message for record in said.records if "late (due" in record.message]
    assert [message.split(" · ")[1].split(":")[0] for message in late] == ["student3"]
    teacher.do("Collect", assignment, update=True)
    assert [collected(teacher, assignment, student) for student in students] == [b"late"] * 3


def test_the_newest_is_collected_also_after_the_servers_clock_was_set_back(
    teacher: Desk, store: Store, assignment: str
) -> None:
    now = datetime.now(UTC)
    store.submit("camp", assignment, "student1", {"warm-up.ipynb": b"first"}, received=now)
    teacher.do("Collect", assignment)
    store.submit("camp", assignment, "student1", {"warm-up.ipynb": b"second"}, received=now - HOUR)
    teacher.do("Collect", assignment, update=True)
    assert collected(teacher, assignment, "student1") == b"second"


def test_collect_and_list_tell_of_late_queued_and_older_ones(
    teacher: Desk, store: Store, assignment: str, said: pytest.LogCaptureFixture
) -> None:
    received = datetime(2026, 11, 23, 10, 0, 0, 250_000, tzinfo=UTC)
    pressed = SIX - timedelta(minutes=1)
    store.submit("camp", assignment, "student1", NOTEBOOK, received=received, queued=pressed)
    store.release("camp", assignment, NOTEBOOK, by="teacher", again=True)
    store.submit("camp", assignment, "student2", NOTEBOOK, received=SIX)
    Deadlines(store).put("camp", assignment, SIX, by="teacher")
    found: list[dict[str, Any]] = teacher.do("List", assignment, inbound=True)
    first, second = (item["submissions"][0] for item in found)
    assert (first["late"], first["queued"], first["version"]) == (True, "2026-11-23 08:59:00.000000 UTC", 1)
    assert (second["late"], second["queued"], second["version"], second["remarks"]) == (False, None, 2, [])
    remarks = [
        "late (due 2026-11-23 18:00)",
        "arrived later for want of a connection (pressed at 2026-11-23 17:59 by the student's own clock)",
        "answers version 1 of 2",
    ]
    assert f"camp student1 {assignment} 2026-11-23 10:00:00.250000 UTC · " + " · ".join(remarks) in said.text
    said.clear()
    teacher.do("Collect", assignment)
    for remark in remarks:
        assert f"{assignment} · student1: {remark}" in said.text
    assert "student2: " not in said.text


def test_a_late_penalty_is_in_the_released_score(teacher: Desk, camp: Camp, store: Store, assignment: str) -> None:
    sent = store.submit("camp", assignment, "student1", NOTEBOOK)
    teacher.do("Collect", assignment)
    stamp = contents(teacher.folder / "submitted" / "student1" / assignment)["timestamp.txt"]
    write(
        teacher.folder / "feedback" / "student1" / assignment,
        {"warm-up.html": f"{FEEDBACK_MARK} good".encode(), "timestamp.txt": stamp},
    )
    with gradebook(teacher) as made:
        made.update_or_create_assignment(assignment)
        made.update_or_create_notebook("warm-up", assignment)
        made.update_or_create_grade_cell("test", "warm-up", assignment, max_score=4, cell_type="code")
        made.update_or_create_student("student1")
        made.update_or_create_submission(assignment, "student1")
        made.find_grade("test", "warm-up", assignment, "student1").auto_score = 3
        made.find_submission_notebook("warm-up", assignment, "student1").late_submission_penalty = 1
        made.db.commit()
    teacher.do("ReleaseFeedback", assignment)
    feedback = store.feedback(sent)
    assert feedback is not None
    assert (feedback.score, feedback.max_score) == (2, 4)


def test_feedback_that_is_refused_for_one_student_reaches_the_others_and_is_named(
    teacher: Desk, store: Store, assignment: str
) -> None:
    sent = store.submit("camp", assignment, "student2", NOTEBOOK)
    for student, stamp in (("student1", "1999-01-01 00:00:00.000000 UTC"), ("student2", show_time(sent.received))):
        write(
            teacher.folder / "feedback" / student / assignment,
            {"warm-up.html": f"{FEEDBACK_MARK} good".encode(), "timestamp.txt": stamp.encode()},
        )
    with pytest.raises(ExchangeError, match=r"The feedback of 1 could not be released.*student1: "):
        teacher.do("ReleaseFeedback", assignment)
    assert store.feedback(sent) is not None


def test_pages_that_another_nbgrader_made_are_not_sent(
    teacher: Desk, store: Store, assignment: str, said: pytest.LogCaptureFixture
) -> None:
    sent = store.submit("camp", assignment, "student1", NOTEBOOK)
    teacher.do("Collect", assignment)
    stamp = contents(teacher.folder / "submitted" / "student1" / assignment)["timestamp.txt"]
    place = teacher.folder / "feedback" / "student1" / assignment
    write(place, {"warm-up.html": b"<html>assert hidden", "timestamp.txt": stamp})
    teacher.do("ReleaseFeedback", assignment)
    assert store.feedback(sent) is None
    assert "may hold hidden tests: not sent" in said.text


def test_one_command_in_the_container_shows_and_sets_deadlines_and_extensions(
    teacher: Desk, store: Store, assignment: str
) -> None:
    def due(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gpuclass.exchange.client.due", *arguments],
            env={"PATH": os.environ["PATH"], **teacher.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    assert due(assignment).stdout == f"{assignment}: no deadline\n"
    assert due(assignment, "2026-11-23 18:00").stdout == f"{assignment}: 2026-11-23 18:00 (Asia/Seoul)\n"
    due(assignment, "2026-11-23 19:30", "--student", "student1")
    assert deadline(store, assignment) == Deadline(SIX, {"student1": SIX + 1.5 * HOUR})
    assert due(assignment).stdout.splitlines()[1] == "  student1: 2026-11-23 19:30 (Asia/Seoul)"
    due(assignment, "none", "--student", "student1")
    assert deadline(store, assignment) == Deadline(SIX)
    wrong = due(assignment, "tomorrow")
    assert wrong.returncode == 1
    assert "'tomorrow' is not a time; write" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert "Enter its due date in Formgrader" in due("not released", "18:00").stderr.replace("enter", "Enter")
    assert deadline(store, assignment) == Deadline(SIX)


def released(store: Store, name: str) -> bool:
    return name in store.assignments("camp")


def tried(store: Store, monkeypatch: pytest.MonkeyPatch, report: dict[str, object], *, failed: bool = False) -> None:
    """A grading worker that answers every check so."""

    def sleep(_: float) -> None:
        if found := store.claim_check():
            store.finish_check(found.id, report, failed=failed)

    monkeypatch.setattr(checking, "nobody_works", lambda *_: False)
    monkeypatch.setattr(checking.check, "__kwdefaults__", {"clock": time.monotonic, "sleep": sleep})


def test_what_must_be_mended_stops_a_release_and_says_why(
    teacher: Desk,
    store: Store,
    said: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    name = name_of(request)
    plan(teacher, name, None)
    tried(store, monkeypatch, {"refused": True, "lines": ["warm-up · test, line 3: 0 points when it is graded"]})
    with pytest.raises(ExchangeError, match="Mend what stands above"):
        teacher.do("ReleaseAssignment", name)
    assert "warm-up · test, line 3" in said.text
    assert not released(store, name)
    teacher.do("ReleaseAssignment", name, check=False)
    assert released(store, name)


def test_what_is_in_order_is_released_and_its_report_shown(
    teacher: Desk,
    store: Store,
    said: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    name = name_of(request)
    plan(teacher, name, None)
    tried(store, monkeypatch, {"refused": False, "lines": ["in order; the same points both ways"]})
    teacher.do("ReleaseAssignment", name)
    assert "the same points both ways" in said.text
    assert released(store, name)


def test_without_a_grading_worker_a_release_goes_on_with_a_warning(
    teacher: Desk, store: Store, said: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    plan(teacher, name, None)
    teacher.do("ReleaseAssignment", name)
    assert "the grading service is not running" in said.text
    assert released(store, name)
