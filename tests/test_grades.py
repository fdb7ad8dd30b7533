"""``gpuclass grades``: everybody in the roster, scores of the gradebook, and no 0 where nothing was submitted.

The gradebook is made by grading real submissions; the agent runs here as a plain process.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from typer.testing import CliRunner, Result

from gpuclass import cli
from gpuclass.accounts import Accounts
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store
from gpuclass.grader.job import Task, grade
from gpuclass.grader.pair import Pair
from gpuclass.grades import as_json, gather
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings, load
from tests.grader.agents import LIMITS, local_pair
from tests.grader.courses import by_id, released, solved, source_version, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # as in tests/grader/test_grading.py
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nbgrader"),
]

EVIL = "=HYPERLINK(0)"
PEOPLE = (
    Person("t01", "박선생", Role.INSTRUCTOR),
    Person("kim", "김하늘", Role.STUDENT, "01"),
    Person("lee", EVIL, Role.STUDENT, "1-2"),
    Person("park", "박, 구름", Role.STUDENT),
    Person("choi", '최 "별"', Role.STUDENT),
    Person("gone", "전학생", Role.STUDENT),
)
DUE = "2026-11-24T09:00:00+00:00"


@pytest.fixture(scope="module")
def class_(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """kim answers right and 90 minutes late, lee sends no notebook, park nothing, choi waits, gone has left."""
    data = tmp_path_factory.mktemp("class")
    path = data / "class.toml"
    path.write_text('[class]\nname = "camp"\ntitle = "Camp"\n', encoding="utf-8")
    settings = load(path, environ={})
    accounts = Accounts(settings.accounts_path)
    accounts.apply(Roster(PEOPLE), {})
    accounts.apply(Roster(PEOPLE[:-1]), {})
    write(settings.course_folder / "source" / "ps1", source_version())
    sent: dict[str, NotebookNode | bytes] = {
        "kim": solved(lambda made: by_id(made, "why").update(source="Because it does.")),
        "lee": b"not a notebook",
        "gone": released(),
        "-1+1": released(),
        "007": released(),
    }
    sandboxes = iter(range(20))

    def opened() -> Pair:
        return local_pair(data / f"sandbox{next(sandboxes)}", LIMITS)

    for student, notebook in sent.items():
        folder = write(data / "sent" / student, notebook)
        task = Task(str(settings.course_folder), "camp", "ko", "ps1", student, str(folder), due=DUE, extensions={})
        if student == "kim":
            task = replace(task, received="2026-11-24T10:30:00+00:00")
        assert grade(task, opened, LIMITS).status == ("quarantined" if student == "lee" else "graded")
    with Store(settings.exchange_folder) as store:
        Courses(store, "camp", lambda: Roster(()))
        for assignment in ("ps1", "ps2"):
            store.release("camp", assignment, {f"{assignment}.ipynb": b"{}"}, by="t01")
        for student in ("kim", "choi"):
            store.submit("camp", "ps1", student, {"ps1.ipynb": b"{}"})
        while job := store.claim():
            if job.student == "kim":
                store.finish(job.id)
    return settings


def call(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["grades", *arguments], env={"GPUCLASS_CONFIG": str(settings.path)})


def rows(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout_bytes.decode("utf-8-sig"), newline="")))


def test_each_student_of_the_class_is_a_row_in_the_order_of_the_roster_and_then_the_others(class_: Settings) -> None:
    table = rows(call(class_, "camp"))
    assert [row["아이디"] for row in table] == ["kim", "lee", "park", "choi", "gone", "'-1+1", '="007"']
    assert [row["비고"] for row in table] == ["", "", "", "", "명단에서 빠짐", "명단에 없음", "명단에 없음"]


def test_the_table_has_what_nobody_may_take_for_a_formula_a_date_or_a_number(class_: Settings) -> None:
    by_login = {row["아이디"]: row for row in rows(call(class_, "camp"))}
    assert (by_login["kim"]["이름"], by_login["kim"]["팀"]) == ("김하늘", '="01"')
    assert (by_login["lee"]["이름"], by_login["lee"]["팀"]) == (f"'{EVIL}", '="1-2"')
    assert [by_login[login]["이름"] for login in ("park", "choi")] == ["박, 구름", '최 "별"']


def test_who_submitted_nothing_has_an_empty_cell_and_is_named(class_: Settings) -> None:
    result = call(class_, "camp")
    by_login = {row["아이디"]: row for row in rows(result)}
    assert (by_login["park"]["ps1 점수"], by_login["park"]["ps1 표시"]) == ("", "제출 안 함")
    assert by_login["park"]["합계"] == ""
    assert (by_login["gone"]["ps1 점수"], by_login["gone"]["합계"]) == ("0", "0"), "graded, with nothing right"
    assert "ps1: nothing submitted by park\n" in result.stderr
    assert "ps2: nothing submitted by kim, lee, park, choi\n" in result.stderr


def test_marks_say_late_waiting_by_hand_and_put_aside(class_: Settings) -> None:
    by_login = {row["아이디"]: row for row in rows(call(class_, "camp"))}
    assert by_login["kim"]["ps1 점수"] == "10"
    assert by_login["kim"]["ps1 만점"] == "14"
    assert by_login["kim"]["ps1 표시"] == "늦음 90분; 선생님 채점 필요"
    assert by_login["choi"]["ps1 표시"] == "채점 기다리는 중"
    assert by_login["lee"]["ps1 점수"] == "0"
    assert by_login["lee"]["ps1 표시"] == "선생님 채점 필요; 보류: ps1.ipynb: 노트북 파일이 아니거나 깨졌어요"


def test_json_has_numbers_and_null_and_its_keys_stay(class_: Settings) -> None:
    result = call(class_, "camp", "--format", "json")
    found = json.loads(result.stdout)
    assert list(found) == ["schema", "course", "assignments", "students"]
    assert (found["schema"], found["course"]) == (1, "camp")
    assert found["assignments"] == [{"name": "ps1", "max_score": 14.0}, {"name": "ps2", "max_score": None}]
    students: dict[str, dict[str, Any]] = {each["login"]: each for each in found["students"]}
    assert students["kim"] == {
        "login": "kim",
        "name": "김하늘",
        "team": "01",
        "role": "student",
        "in_class": True,
        "assignments": {
            "ps1": {
                "state": "graded",
                "score": 10.0,
                "seconds_late": 5400.0,
                "needs_manual": True,
                "put_aside": [],
                "newer": False,
                "max_score": 14.0,
                "late": True,
            },
            "ps2": {
                "state": "none",
                "score": None,
                "seconds_late": 0.0,
                "needs_manual": False,
                "put_aside": [],
                "newer": False,
                "max_score": None,
                "late": False,
            },
        },
        "total": 10.0,
        "total_max": 14.0,
    }
    assert students["park"]["total"] is None
    assert (students["gone"]["in_class"], students["gone"]["role"]) == (False, "student")
    assert (students["007"]["in_class"], students["007"]["role"]) == (False, None)
    assert students["lee"]["assignments"]["ps1"]["put_aside"] == ["ps1.ipynb: 노트북 파일이 아니거나 깨졌어요"]


def test_one_assignment_alone(class_: Settings) -> None:
    table = rows(call(class_, "camp", "--assignment", "ps2"))
    assert "ps1 점수" not in table[0]
    assert [row["아이디"] for row in table] == ["kim", "lee", "park", "choi"], "nobody else has work for it"


def test_a_file_is_written_whole_and_for_the_caller_only(class_: Settings, tmp_path: Path) -> None:
    out = tmp_path / "성적.csv"
    assert call(class_, "camp", "--out", str(out)).stdout == ""
    assert out.read_bytes() == call(class_, "camp").stdout_bytes
    assert out.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [out]
    refused = call(class_, "camp", "--out", str(tmp_path / "no" / "x.csv"))
    assert refused.exit_code == 2
    assert "x.csv cannot be written: No such file" in refused.stderr


def test_nothing_is_made_or_changed_by_looking(class_: Settings) -> None:
    gradebook = class_.course_folder / "gradebook.db"
    before = gradebook.read_bytes()
    names = sorted(path.name for path in class_.course_folder.iterdir())
    gather("camp", class_.course_folder, class_.exchange_folder, {})
    assert gradebook.read_bytes() == before
    assert sorted(path.name for path in class_.course_folder.iterdir()) == names


def test_points_given_by_hand_count(class_: Settings, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(class_.course_folder, tmp_path / "copy")
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "camp") as gradebook:
        grade_ = gradebook.find_grade("why", "ps1", "ps1", "kim")
        grade_.manual_score, grade_.needs_manual_grade = 3.5, False
        gradebook.db.commit()
    found = json.loads(as_json(gather("camp", folder, class_.exchange_folder, {})))
    mark = next(each for each in found["students"] if each["login"] == "kim")["assignments"]["ps1"]
    assert (mark["score"], mark["needs_manual"]) == (13.5, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nope"], "There is no course 'nope'"), (["camp", "--assignment", "x"], "There are: ps1, ps2")],
)
def test_what_is_not_there_is_named(arguments: list[str], said: str, class_: Settings) -> None:
    result = call(class_, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_gradebook_that_is_none_is_said_plainly(class_: Settings, tmp_path: Path) -> None:
    (tmp_path / "gradebook.db").write_bytes(b"not a database" * 100)
    from gpuclass.grades import GradesError

    with pytest.raises(GradesError, match="cannot be read"):
        gather("camp", tmp_path, class_.exchange_folder, {})


def test_a_newer_submission_that_waits_is_said(class_: Settings) -> None:
    with Store(class_.exchange_folder) as store:
        store.submit("camp", "ps1", "kim", {"ps1.ipynb": b"[]"}, received=datetime(2026, 11, 25, tzinfo=UTC))
    mark = next(each for each in rows(call(class_, "camp")) if each["아이디"] == "kim")["ps1 표시"]
    assert mark.endswith("더 새로운 제출물이 채점을 기다림")
