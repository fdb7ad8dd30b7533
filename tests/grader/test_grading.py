"""A submission through sanitise, nbgrader and the real agent, which runs here as a plain process: no isolation."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dateutil.tz import gettz  # type: ignore[import-untyped]  # no stubs here
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.wire import read_time
from gpuclass.grader.course import CONFIGURATION, Course, CourseError
from gpuclass.grader.formgrader import ServiceAPI
from gpuclass.grader.grade import give_to_owner
from gpuclass.grader.job import Graded, Task, grade
from gpuclass.grader.pair import REPLAYS, Pair
from gpuclass.grader.sandbox import EngineError
from gpuclass.roster import Roster
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import RIGHT, by_id, cell, notebook, released, solved, source_version, write

pytestmark = [
    pytest.mark.slow,
    # nbgrader 0.9.6 adds to collections of objects that SQLAlchemy does not know yet.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its gradebook closes connections when collected
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nbgrader"),
]

GradeIt = Callable[..., Graded]
FULL = {"test-add": 3.0, "test-add-hidden": 5.0, "test-scale": 2.0, "why": 0.0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder in which the assignment is in the gradebook."""
    folder = tmp_path_factory.mktemp("prepared")
    write(folder / "source" / "ps1", source_version())
    Course(folder, "camp", "en").prepare("ps1")
    return folder


@pytest.fixture
def course(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "course")


@pytest.fixture
def grade_it(course: Path, tmp_path: Path) -> GradeIt:
    """Grade one notebook of one student."""

    def run(nb: NotebookNode | bytes | None, student: str = "kim", limits: object = LIMITS, **more: Any) -> Graded:
        folder = tmp_path / "submissions" / student
        folder.mkdir(parents=True, exist_ok=True)
        if nb is not None:
            write(folder, nb)
        task = Task(str(course), "camp", "en", "ps1", student, str(folder), **more)
        made = iter(range(10))

        def opened() -> Pair:
            return local_pair(tmp_path / f"sandbox{next(made)}", limits)  # type: ignore[arg-type]  # Limits

        return grade(task, opened, limits)  # type: ignore[arg-type]  # Limits

    return run


def page(graded: Graded) -> str:
    return Path(graded.feedback["ps1.html"]).read_text(encoding="utf-8")


def test_the_right_answer_gets_all_automatic_points(grade_it: GradeIt) -> None:
    graded = grade_it(solved())
    assert graded.cells == FULL
    assert (graded.status, graded.score, graded.max_score, graded.reason) == ("graded", 10.0, 14.0, "")
    assert "Score 10 / 14" in page(graded)


def test_a_blank_submission_gets_nothing(grade_it: GradeIt) -> None:
    assert grade_it(released()).score == 0.0


def test_hidden_tests_count_and_are_not_shown(grade_it: GradeIt) -> None:
    graded = grade_it(solved(add="def add(a, b):\n    return abs(a) + b\n"))
    assert graded.cells == {**FULL, "test-add-hidden": 0.0}
    assert "hidden secret" not in page(graded)
    assert "the checks you can see pass" in page(graded).lower()


THIEF = """
import inspect, sys
seen = []
def add(a, b):
    frame = sys._getframe()
    while frame:
        for value in (*frame.f_locals.values(), frame.f_code.co_consts):
            seen.append(repr(value))
        frame = frame.f_back
    print('STOLEN', seen)
    assert 'secret' not in str(seen), str(seen)
    return a + b
"""


def test_code_that_reads_a_hidden_test_cannot_show_it(grade_it: GradeIt) -> None:
    nb = solved(add=THIEF)
    nb.cells.append(cell("code", "print('LATER', seen); raise ValueError(str(seen))"))
    graded = grade_it(nb)
    assert "LATER" in page(graded), "the thief's cells did run"
    assert "STOLEN" in page(graded)
    assert "hidden secret" not in page(graded)


def test_no_number_in_a_later_cell_tells_what_a_hidden_test_asked(grade_it: GradeIt) -> None:
    nb = solved(add="seen = []\ndef add(a, b):\n    seen.append(abs(a))\n    return a + b")
    nb.cells.append(cell("code", "7000 + sum(seen)"))
    graded = grade_it(nb)
    assert graded.score == 10.0
    assert "7002" in page(graded), "from the visible tests"
    assert "7006" not in page(graded), "with the hidden one"


def test_warnings_and_progress_bars_on_stderr_cost_nothing(grade_it: GradeIt) -> None:
    noisy = "import sys, warnings\n" + RIGHT.replace(
        "    return", "    warnings.warn('careful'); print('50%', file=sys.stderr)\n    return"
    )
    assert grade_it(solved(add=noisy)).cells == FULL


def test_a_cell_that_ends_python_costs_nothing_but_itself(grade_it: GradeIt) -> None:
    nb = solved()
    nb.cells.insert(nb.cells.index(by_id(nb, "scale")), cell("code", "import os\nos._exit(0)"))
    graded = grade_it(nb)
    assert graded.status == "graded"
    assert graded.cells == FULL
    assert "Python ended in this cell" in page(graded)


def test_a_notebook_that_ends_python_again_and_again_is_begun_anew_only_so_often(grade_it: GradeIt) -> None:
    nb = solved()
    for _ in range(REPLAYS + 1):
        nb.cells.insert(nb.cells.index(by_id(nb, "scale")), cell("code", "import os\nos._exit(0)"))
    graded = grade_it(nb)
    assert graded.cells == {**FULL, "test-scale": 0.0}
    assert "running had stopped before it" in page(graded)


def test_a_cell_that_hangs_is_told_in_plain_words(grade_it: GradeIt) -> None:
    nb = solved(add="def add(a, b):\n    while True: pass")
    graded = grade_it(nb, limits=dataclasses.replace(LIMITS, cell_timeout=0.5))
    assert graded.cells == {**FULL, "test-add": 0.0, "test-add-hidden": 0.0}
    assert "This cell was stopped after its 0.5 s" in page(graded)


def test_data_beside_the_notebook_can_be_read_but_not_take_numpys_place(
    grade_it: GradeIt, course: Path, tmp_path: Path
) -> None:
    (course / "source" / "ps1" / "data.csv").write_text("instructor")
    folder = tmp_path / "submissions" / "kim"
    folder.mkdir(parents=True)
    (folder / "data.csv").write_text("student")
    (folder / "json.py").write_text("raise RuntimeError('shadowed')")
    (folder / "own.py").write_text("x = 1")
    check = "import json, own\nassert open('data.csv').read() == 'instructor'\n"
    assert grade_it(solved(add=check + RIGHT), version=1, newest=1).cells == FULL  # released with the file


def test_a_missing_notebook_scores_zero_and_says_so(grade_it: GradeIt) -> None:
    graded = grade_it(None)
    assert (graded.status, graded.score, graded.reason) == ("graded", 0.0, "ps1.ipynb: not submitted")
    assert "not submitted" in page(graded)


def test_a_broken_notebook_is_quarantined_for_a_person(grade_it: GradeIt, course: Path) -> None:
    graded = grade_it(b'{"nbformat":')
    assert (graded.status, graded.score) == ("quarantined", 0.0)
    assert graded.reason in page(graded)
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        assert gradebook.find_submission("ps1", "kim").needs_manual_grade


def test_a_second_grading_replaces_the_first_and_keeps_manual_points(grade_it: GradeIt, course: Path) -> None:
    assert grade_it(released()).score == 0.0
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        gradebook.find_grade("why", "ps1", "ps1", "kim").manual_score = 4
        gradebook.db.commit()
    assert grade_it(solved()).cells == {**FULL, "why": 4.0}


def test_points_come_from_the_gradebook_also_for_an_old_release(grade_it: GradeIt) -> None:
    nb = solved()
    by_id(nb, "test-add").metadata.nbgrader.update(points=1e9)
    by_id(nb, "test-add").source = "pass  # an old version of the test"
    assert grade_it(nb).cells == FULL


def test_the_servers_time_decides_what_is_late(grade_it: GradeIt, course: Path, tmp_path: Path) -> None:
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        gradebook.update_or_create_assignment("ps1", duedate="2026-05-01 00:00:00 UTC")
    folder = tmp_path / "submissions" / "kim"
    folder.mkdir(parents=True)
    (folder / "timestamp.txt").write_text("1999-01-01 00:00:00 UTC")
    grade_it(solved(), received="2026-05-01T01:00:00+00:00")
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        assert gradebook.find_submission("ps1", "kim").total_seconds_late == 3600


SIX = "2026-11-23T09:00:00+00:00"  # 18:00 in Seoul
HALF_PAST = "2026-11-23T18:30:00+09:00"
SEVEN = "2026-11-23T10:00:00+00:00"


@pytest.fixture
def late_is_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class takes all points of a late submission, by nbgrader's own plugin."""
    made = tmp_path / "nbgrader_config.py"
    more = "\nc.LateSubmissionPlugin.penalty_method = 'zero'\n"
    made.write_text(CONFIGURATION.read_text(encoding="utf-8") + more, encoding="utf-8")
    monkeypatch.setattr("gpuclass.grader.course.CONFIGURATION", made)


def seconds_late(course: Path, student: str = "kim") -> float:
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        return float(gradebook.find_submission("ps1", student).total_seconds_late)


@pytest.mark.usefixtures("late_is_zero")
@pytest.mark.parametrize(
    ("received", "extensions", "late"),
    [
        (SIX, {}, 0),
        ("2026-11-23T09:00:00.000001+00:00", {}, 1e-6),
        ("2026-11-23T09:00:01.500000+00:00", {}, 1.5),
        ("2026-11-23T09:29:59+00:00", {"kim": HALF_PAST}, 0),
        (HALF_PAST, {"kim": HALF_PAST}, 0),
        (SEVEN, {"kim": HALF_PAST}, 1800),
        (SEVEN, {"lee": SEVEN}, 3600),
        ("2026-11-23T08:59:59+00:00", {"kim": "2026-11-23T08:00:00+00:00"}, 0),
    ],
    ids=["on time", "a microsecond", "late", "longer", "at the end of it", "after it", "another's", "not shorter"],
)
def test_the_exchanges_deadline_and_extension_decide_what_nbgrader_finds_late(
    grade_it: GradeIt, course: Path, received: str, extensions: dict[str, str], late: float
) -> None:
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        gradebook.update_or_create_assignment("ps1", duedate="2020-01-01 00:00:00 UTC")
    graded = grade_it(solved(), received=received, due=SIX, extensions=extensions)
    assert seconds_late(course) == pytest.approx(late, abs=1e-9)
    assert graded.score == (0 if late else 10)
    assert ("Submitted late" in page(graded)) is bool(late)


@pytest.mark.usefixtures("late_is_zero")
def test_a_deadline_that_was_moved_counts_when_graded_again_and_moves_everybodys_extension(
    grade_it: GradeIt, course: Path
) -> None:
    extensions = {"kim": HALF_PAST}
    grade_it(solved(), "kim", received=SEVEN, due=SIX, extensions=extensions)
    assert grade_it(solved(), "lee", received=SEVEN, due=SIX, extensions=extensions).score == 0
    moved = grade_it(solved(), "lee", received=SEVEN, due=SEVEN, extensions=extensions)
    assert (moved.score, seconds_late(course, "lee")) == (10, 0)
    assert seconds_late(course, "kim") == 0, "an extension that ends before the deadline is none"
    grade_it(solved(), "lee", received=SEVEN, due="2026-11-23T08:00:00+00:00", extensions=extensions)
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        assert gradebook.find_submission("ps1", "kim").extension == timedelta(minutes=90)
    gone = grade_it(solved(), "lee", received=SEVEN, due=None, extensions=extensions)
    assert (gone.score, seconds_late(course, "lee"), seconds_late(course, "kim")) == (10, 0, 0)


@pytest.mark.parametrize("moment", [SIX, "2026-11-23T09:00:00.000001+00:00", "2026-11-23T08:59:59.999999+00:00"])
def test_a_submissions_time_is_the_same_to_the_microsecond_on_the_exchange_in_the_gradebook_and_in_formgrader(
    grade_it: GradeIt, course: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = datetime.fromisoformat(moment)
    with Store(tmp_path / "exchange") as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "ps1", {"ps1.ipynb": b"{}"}, by="lee")
        sent = store.submit("camp", "ps1", "kim", {"ps1.ipynb": b"{}"}, received=received)
        store.write_files(sent, course / "submitted" / "kim" / "ps1")  # as the worker does
    graded = grade_it(solved(), received=sent.received.isoformat())
    stamp = (Path(graded.feedback["ps1.html"]).parent / "timestamp.txt").read_text(encoding="utf-8")
    assert read_time(stamp) == received, "feedback is released by this time"
    monkeypatch.setenv("GPUCLASS_TIMEZONE", "Asia/Seoul")
    monkeypatch.chdir(course)
    where = {"root": str(course), "course_id": "camp", "db_url": f"sqlite:///{course}/gradebook.db"}
    api = ServiceAPI(
        CourseDirectory(**where),
        config=Config({"ExchangeFactory": {"list": "gpuclass.exchange.client.classes.ExchangeList"}}),
    )
    shown = api.get_submission("ps1", "kim")
    assert datetime.fromisoformat(shown["timestamp"]) == received.replace(tzinfo=None)
    assert shown["display_timestamp"] == f"{received.astimezone(gettz('Asia/Seoul')):%Y-%m-%d %H:%M:%S} KST"
    assert api.get_autograded_students("ps1") == {"kim"}, "nbgrader finds it graded only when both times are equal"


def test_a_submission_to_an_older_version_says_so_in_its_feedback(grade_it: GradeIt) -> None:
    assert "version 1 of 3" in page(grade_it(solved(), version=1, newest=3))
    assert "of 3 of the assignment" not in page(grade_it(solved(), version=3, newest=3))


def test_nothing_a_student_wrote_runs_in_the_teachers_page(grade_it: GradeIt) -> None:
    evil = "<script>steal()</script><img src=x onerror=steal()>"
    nb = solved()
    nb.cells.insert(0, cell("markdown", f"{evil}\n\n[x](javascript:steal()) ![y](attachment:none.png)"))
    nb.cells.insert(
        1,
        cell(
            "code",
            f"from IPython.display import HTML, Javascript, display\ndisplay(HTML({evil!r}), Javascript('steal()'))",
        ),
    )
    nb.cells.insert(2, cell("code", f"print({evil!r})\nraise ValueError({evil!r})"))
    text = page(grade_it(nb))
    assert "<script" not in text
    assert "onerror=steal" not in text.replace("&lt;img src=x onerror=steal", "")
    assert "javascript:" not in text.replace("[x](javascript:steal())", "").replace("Javascript", "")
    assert "default-src 'none'" in text


def test_an_engine_that_cannot_start_a_sandbox_fails_the_job_without_a_score(course: Path, tmp_path: Path) -> None:
    def refuse() -> Pair:
        raise EngineError("Docker did not start a sandbox: no space left")

    folder = write(tmp_path / "kim", solved())
    graded = grade(Task(str(course), "camp", "en", "ps1", "kim", str(folder)), refuse, LIMITS)
    assert (graded.status, graded.reason) == ("failed", "Docker did not start a sandbox: no space left")


def test_an_assignment_without_source_version_fails_with_a_reason(course: Path, tmp_path: Path) -> None:
    graded = grade(Task(str(course), "camp", "en", "ps9", "kim", str(tmp_path)), lambda: local_pair(tmp_path), LIMITS)
    assert graded.status == "failed"
    assert "no source version of 'ps9'" in graded.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_graded_belongs_to_the_courses_owner(course: Path) -> None:
    os.chown(course, 1000, 1000)
    (course / "autograded").mkdir()
    give_to_owner(course)
    assert {path.lstat().st_uid for path in course.rglob("*")} == {1000}


def test_what_only_graders_read_stays_hidden_when_a_cell_is_put_back(course: Path, tmp_path: Path) -> None:
    hidden = "### BEGIN HIDDEN TESTS\nassert x == 1, 'veiled'\n### END HIDDEN TESTS"
    manual = f"### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n{hidden}"
    source = notebook(
        cell("code", manual, "manual", grade=True, solution=True, points=3),
        cell(
            "markdown",
            "Do.\n=== BEGIN MARK SCHEME ===\nscheme\n=== END MARK SCHEME ===",
            "task",
            task=True,
            locked=True,
            points=1,
        ),
    )
    write(course / "source" / "ps2", source, "ps2")
    for student, sent in (("nothing", "{}"), ("deleted", notebook()), ("broken", "{")):
        folder = write(tmp_path / student, sent, "other" if student == "nothing" else "ps2")
        task = Task(str(course), "camp", "en", "ps2", student, str(folder))
        graded = grade(task, lambda: local_pair(tmp_path / "sandbox"), LIMITS)
        assert graded.max_score == 4
        text = Path(graded.feedback["ps2.html"]).read_text(encoding="utf-8")
        assert "veiled" not in text
        assert "scheme" not in text


def test_a_folder_called_like_the_notebook_is_no_notebook(grade_it: GradeIt, tmp_path: Path) -> None:
    folder = tmp_path / "submissions" / "kim" / "ps1.ipynb"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text("")
    graded = grade_it(None)
    assert (graded.status, graded.score) == ("graded", 0.0)
    assert "not submitted" in graded.reason


def test_a_source_version_that_nbgrader_refuses_is_refused_with_its_words(tmp_path: Path) -> None:
    source = source_version()
    by_id(source, "test-add").metadata.nbgrader.points = "3"
    write(tmp_path / "source" / "ps1", source)
    with pytest.raises(CourseError, match="'3' is not of type 'number'"):
        Course(tmp_path, "camp", "en").prepare("ps1")
