"""A corrected test reaches the scores when a re-grade is applied: not before, not by halves, and with a list first.

Real nbgrader and the real agent, which runs here as a plain process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from gpuclass.grader import regrade
from gpuclass.grader.course import Course, CourseError
from gpuclass.grader.inforce import InForce
from gpuclass.grader.job import Graded, Task, grade
from gpuclass.grader.pair import Pair
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import VISIBLE, by_id, cell, solved, source_version, write

pytestmark = [
    pytest.mark.slow,
    # nbgrader 0.9.6 adds to collections of objects that SQLAlchemy does not know yet.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its gradebook closes connections when collected
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nbgrader"),
]

Run = Callable[..., Graded]
RECEIVED = datetime(2026, 11, 23, 9, tzinfo=UTC)
NEGATIVE = "def add(a, b):\n    return abs(a) + b\n"  # fails the hidden test
OLD, NEW = 10.0, 6.0  # of the right answer: the corrected hidden test is worth 1 instead of 5


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course in which kim's right answer was graded, and looked at by a person."""
    folder = tmp_path_factory.mktemp("graded")
    write(folder / "course" / "source" / "ps1", source_version())
    write(folder / "kim", solved())
    assert run_in(folder, "kim").score == OLD
    with Gradebook(f"sqlite:///{folder / 'course' / 'gradebook.db'}", "camp") as gradebook:
        why = gradebook.find_grade("why", "ps1", "ps1", "kim")
        why.manual_score, why.needs_manual_grade = 3.0, False
        gradebook.db.commit()
    return folder


def run_in(folder: Path, student: str, **more: Any) -> Graded:
    made = iter(range(100))

    def opened() -> Pair:
        return local_pair(folder / f"sandbox-{student}-{more}-{next(made)}".replace("/", ""), LIMITS)

    task = Task(
        str(folder / "course"), "camp", "en", "ps1", student, str(folder / student), RECEIVED.isoformat(), **more
    )
    return grade(task, opened, LIMITS)


@pytest.fixture
def folder(graded: Path, tmp_path: Path) -> Path:
    return shutil.copytree(graded, tmp_path / "day", symlinks=True)


def correct(folder: Path, change: Callable[[NotebookNode], None] | None = None) -> None:
    """What the teacher saves in ``source/``: the hidden test gives one point, or as said."""
    source = source_version()
    if change is None:
        by_id(source, "test-add-hidden").metadata["nbgrader"]["points"] = 1
    else:
        change(source)
    write(folder / "course" / "source" / "ps1", source)


def kims(folder: Path) -> tuple[float, dict[str, float], bool]:
    """kim's score, cells, and whether somebody should look again."""
    course = Course(folder / "course", "camp", "en")
    found = course.scores("ps1", "kim")
    with course.gradebook() as gradebook:
        again = bool(gradebook.find_grade("why", "ps1", "ps1", "kim").needs_manual_grade)
    return found.score, found.cells, again


def test_a_corrected_source_changes_no_score_until_it_is_applied(folder: Path) -> None:
    before = kims(folder)
    correct(folder)
    write(folder / "lee", solved())
    assert run_in(folder, "lee").score == OLD, "who submits meanwhile is graded as those before"
    preview = run_in(folder, "kim", kind="preview", batch=1)
    assert preview.report is not None
    assert preview.report["corrected"]
    assert preview.report["before"]["score"] == OLD + 3
    assert preview.report["after"]["score"] == NEW + 3, "manual points stay"
    assert preview.report["after"]["max_score"] == 10.0
    assert preview.feedback == {}
    assert kims(folder) == before
    assert run_in(folder, "lee").score == OLD

    correct(folder, lambda source: None)  # saved again meanwhile: what was seen is what is applied
    assert run_in(folder, "kim", batch=1).score == NEW + 3
    assert kims(folder) == (NEW + 3, {**before[1], "test-add-hidden": 1.0}, False)
    assert run_in(folder, "lee", batch=1).score == NEW, "and from then on for everybody"


def test_cells_may_come_and_go_though_there_are_submissions(folder: Path) -> None:
    def change(source: NotebookNode) -> None:
        hidden = by_id(source, "test-add-hidden")
        hidden.metadata["nbgrader"]["grade_id"] = "test-negative"  # renamed
        source.cells.insert(4, cell("code", "assert add(0, 0) == 0", "test-zero", grade=True, locked=True, points=1))
        source.cells.remove(by_id(source, "test-scale"))

    correct(folder, change)
    preview = run_in(folder, "kim", kind="preview", batch=1)
    assert preview.report is not None, preview.reason
    expected = {"test-add": 3.0, "test-zero": 1.0, "test-negative": 5.0, "why": 3.0}
    assert preview.report["after"]["cells"] == expected
    assert preview.report["after"]["max_score"] == 13.0
    assert run_in(folder, "kim", batch=1).cells == expected
    assert kims(folder) == (12.0, expected, False)


def test_points_that_a_person_gave_do_not_go_with_their_cell(folder: Path) -> None:
    before = kims(folder)
    correct(folder, lambda source: source.cells.remove(by_id(source, "why")))
    preview = run_in(folder, "kim", kind="preview", batch=1)
    assert preview.status == "failed"
    assert "'why'" in preview.reason
    assert "by hand (kim)" in preview.reason
    assert kims(folder) == before


def test_a_manual_grade_is_to_be_looked_at_again_only_where_the_test_says_something_else(folder: Path) -> None:
    course = Course(folder / "course", "camp", "en")
    with course.gradebook() as gradebook:
        hidden = gradebook.find_grade("test-add-hidden", "ps1", "ps1", "kim")
        hidden.manual_score, hidden.needs_manual_grade = 4.0, False
        gradebook.db.commit()
    correct(folder)
    run_in(folder, "kim", kind="preview", batch=1)
    assert run_in(folder, "kim", batch=1).cells["test-add-hidden"] == 4.0
    with course.gradebook() as gradebook:
        assert gradebook.find_grade("test-add-hidden", "ps1", "ps1", "kim").needs_manual_grade
        assert not gradebook.find_grade("why", "ps1", "ps1", "kim").needs_manual_grade


@pytest.mark.parametrize("place", ["make_room", "_convert", "_keep"])
def test_a_kill_while_it_comes_into_force_is_made_good_by_the_next_grading(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct(folder, lambda source: source.cells.remove(by_id(source, "test-scale")))
    run_in(folder, "kim", kind="preview", batch=1)
    target = "gpuclass.grader.course.make_room" if place == "make_room" else None

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        if target:
            dying.setattr(target, die)
        else:
            dying.setattr(Course, place, die)
        with pytest.raises(Killed):
            run_in(folder, "kim", batch=1)
    correct(folder, lambda source: None)  # what is in source/ by now does not matter
    assert run_in(folder, "kim", batch=1).cells == {"test-add": 3.0, "test-add-hidden": 5.0, "why": 3.0}
    mark = InForce(folder / "course").mark("ps1")
    assert mark is not None
    assert (mark.batch, mark.changing) == (1, "")


def test_a_preview_that_was_cut_short_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    correct(folder)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(Course, "_keep", die)
        with pytest.raises(Killed):
            run_in(folder, "kim", kind="preview", batch=1)
    preview = run_in(folder, "kim", kind="preview", batch=1)
    assert preview.report is not None
    assert preview.report["after"]["score"] == NEW + 3


def test_a_new_release_brings_its_version_into_force_and_an_older_re_grade_does_not_take_it_back(folder: Path) -> None:
    correct(folder)
    run_in(folder, "kim", kind="preview", batch=1)
    correct(folder, lambda source: by_id(source, "test-scale").metadata["nbgrader"].update(points=4))
    assert run_in(folder, "kim", newest=2).max_score == 16.0
    assert run_in(folder, "kim", newest=2, batch=1).max_score == 16.0
    with pytest.raises(CourseError, match="re-grade 9 is gone"):
        Course(folder / "course", "camp", "en").prepare("ps1", batch=9)


def test_a_release_that_the_gradebook_cannot_take_leaves_the_version_before_in_force(folder: Path) -> None:
    before = kims(folder)
    correct(folder, lambda source: source.cells.remove(by_id(source, "why")))
    again = run_in(folder, "kim", newest=2)
    assert (again.score, again.max_score) == (before[0], 14.0)


def test_what_formgrader_generates_is_in_force_at_once(folder: Path) -> None:
    correct(folder, lambda source: by_id(source, "test-add").update(source=f"{VISIBLE}assert add(2, 2) == 5"))
    from nbgrader.converters import GenerateAssignment

    Course(folder / "course", "camp", "en")._convert(GenerateAssignment, "ps1", force=True)
    assert run_in(folder, "kim").cells["test-add"] == 0.0


def test_folders_of_re_grades_are_found_and_removed(folder: Path) -> None:
    correct(folder)
    run_in(folder, "kim", kind="preview", batch=3)
    assert regrade.left(folder / "course") == [3]
    regrade.remove(folder / "course", 3)
    assert regrade.left(folder / "course") == []
