"""No way that feedback is made shows a hidden test; stock nbgrader's, made of the same notebook, does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from gpuclass import ROOT
from gpuclass.exchange.wire import FEEDBACK_MARK
from gpuclass.grader.feedback import page
from gpuclass.grader.job import Task, grade
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import cell, notebook, write

pytestmark = [
    pytest.mark.slow,
    # nbgrader 0.9.6 adds to collections of objects that SQLAlchemy does not know yet.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its gradebook closes connections when collected
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and nbclient's
]

MARKER = "tamarind"  # only hidden parts have this word
SHOWN = "assert double(2) == 4, 'two doubled'"

# Each is a hidden part as teachers write them, and quotes the word when it fails for the answer below.
HIDDEN = {
    "several-asserts": """
assert double(0) == 0
assert double(-3) == -6, 'tamarind 1'
assert double(9) == 18, 'tamarind 2'
""",
    "chained": """
try:
    assert double(-1) == -2, 'tamarind inside'
except AssertionError as error:
    raise ValueError('tamarind outside') from error
""",
    "repr-of-values": """
for name, x in [('tamarind', -7)]:
    assert double(x) == 2 * x, f'{(name, x)!r} gave {double(x)!r}'
""",
    "printed": """
import sys
print('tamarind printed')
print('tamarind warned', file=sys.stderr)
assert double(-1) == -2
""",
    "displayed": """
from IPython.display import HTML, display
display(HTML('<b>tamarind</b>'))
assert double(-1) == -2
""",
    "a-frame-of-its-own": """
def check_tamarind(x):
    return 1 / (double(x) == 2 * x)
check_tamarind(-1)
""",
    "last-value": "'tamarind' if double(-1) != -2 else None",
}
WRONG = "def double(x):\n    print('called with', x)\n    return abs(x) * 2\n"
SCHEME = f"Explain.\n=== BEGIN MARK SCHEME ===\n{MARKER}: one point for each reason\n=== END MARK SCHEME ==="


def source() -> NotebookNode:
    answer = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
    tests = [
        cell(
            "code",
            f"{SHOWN}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS",
            grade_id,
            grade=True,
            locked=True,
            points=1,
        )
        for grade_id, hidden in HIDDEN.items()
    ]
    return notebook(
        cell("code", answer, "double", solution=True),
        *tests,
        cell("markdown", SCHEME, "explain", task=True, locked=True, points=2),
    )


def submission() -> NotebookNode:
    made: NotebookNode = nbformat.from_dict(source())
    for each in made.cells:
        grade_id = each.metadata.nbgrader.grade_id
        each.source = WRONG if grade_id == "double" else "Because." if grade_id == "explain" else SHOWN
    return made


def convert(course: Path, converter: type[BaseConverter], config: Config) -> None:
    """Run one of nbgrader's converters for kim's ps1, as the `nbgrader` command does."""
    where = {
        "root": str(course),
        "course_id": "camp",
        "db_url": f"sqlite:///{course}/gradebook.db",
        "assignment_id": "ps1",
        "student_id": "kim",
    }
    config.merge(Config({"CourseDirectory": where}))
    made = converter(coursedir=CourseDirectory(config=config), config=config)
    made.force = True
    made.start()


def instructors_configuration(monkeypatch: pytest.MonkeyPatch) -> Config:
    """What Formgrader and `nbgrader` go by in the instructor's container."""
    for name, value in {"GPUCLASS_ROLE": "instructor", "GPUCLASS_LANGUAGE": "en", "GPUCLASS_COURSE": "camp"}.items():
        monkeypatch.setenv(name, value)
    return PyFileConfigLoader("nbgrader_config.py", str(ROOT / "images/student/etc/jupyter")).load_config()


def made_page(course: Path) -> str:
    return (course / "feedback" / "kim" / "ps1" / "ps1.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A course in which the grading service graded kim's submission, and the page that it put back."""
    course, sandboxes = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("sandboxes")
    write(course / "source" / "ps1", source())
    folder = write(course / "submitted" / "kim" / "ps1", submission())
    task = Task(str(course), "camp", "en", "ps1", "kim", str(folder))
    made = iter(range(10))
    outcome = grade(task, lambda: local_pair(sandboxes / str(next(made))), LIMITS)
    assert outcome.status == "graded", outcome.reason
    assert {key: outcome.cells[key] for key in HIDDEN} == {**dict.fromkeys(HIDDEN, 0.0), "last-value": 1.0}
    return course, Path(outcome.feedback["ps1.html"]).read_text(encoding="utf-8")


@pytest.fixture
def course(graded: tuple[Path, str], tmp_path: Path) -> Path:
    return shutil.copytree(graded[0], tmp_path / "course")


def check(text: str) -> None:
    assert MARKER not in text
    assert "two doubled" in text, "the visible tests are there"
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert FEEDBACK_MARK in text


def test_the_grading_services_page_has_no_hidden_test(graded: tuple[Path, str]) -> None:
    text = graded[1]
    check(text)
    assert "hidden ones do not" in text
    assert "called with 2" in text, "what the visible run printed is shown"
    assert "called with -" not in text, "the inputs of hidden tests are not"


def test_formgraders_generate_feedback_has_no_hidden_test(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        gradebook.find_comment("explain", "ps1", "ps1", "kim").manual_comment = "Good reasons."
        gradebook.db.commit()
    convert(course, GenerateFeedback, instructors_configuration(monkeypatch))
    check(made_page(course))
    assert "Good reasons." in made_page(course)


def test_stock_generate_feedback_of_the_same_notebook_shows_them(course: Path) -> None:
    convert(course, GenerateFeedback, Config())
    text = made_page(course)
    assert MARKER in text
    assert FEEDBACK_MARK not in text


def test_of_what_stock_nbgrader_graded_no_hidden_test_is_shown_either(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(course, Autograde, Config())
    autograded = (course / "autograded" / "kim" / "ps1" / "ps1.ipynb").read_text(encoding="utf-8")
    assert f"{MARKER} printed" in autograded
    assert f"{MARKER} outside" in autograded
    convert(course, GenerateFeedback, instructors_configuration(monkeypatch))
    check(made_page(course))
    assert "called with -" not in made_page(course)


@pytest.mark.parametrize("apart", [True, False])
def test_delimiters_of_the_courses_own_hide_as_well(apart: bool) -> None:
    nb = notebook(
        cell("code", f"{SHOWN}\n# <<<\nassert False, '{MARKER}'\n# >>>", "test", grade=True, locked=True, points=1),
        cell("markdown", f"Explain.\n((\n{MARKER}\n))", "explain", task=True, locked=True, points=2),
    )
    nb.metadata["gpuclass"] = {"apart": apart}
    failed = nbformat.v4.new_output("error", ename="AssertionError", evalue=MARKER, traceback=[MARKER])
    nb.cells[0].outputs = [failed]
    delimiters: Mapping[str, object] = {
        "ClearHiddenTests": {"begin_test_delimeter": "<<<", "end_test_delimeter": ">>>"},
        "ClearMarkScheme": {"begin_mark_scheme_delimeter": "((", "end_mark_scheme_delimeter": "))"},
    }
    grades = {"notebook": "ps1", "score": 0, "max_score": 3}
    check(page(nbformat.from_dict(nb), grades, "en", Config(delimiters)))
    assert MARKER in page(nbformat.from_dict(nb), grades, "en"), "they are not nbgrader's own"
