"""nbgrader's own classes and commands, with the plugin, against the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeError, ExchangeFactory
from nbgrader.server_extensions.assignment_list.handlers import AssignmentList
from traitlets.config import Config

from gpuclass.assignments import plain
from gpuclass.exchange.client import classes as client
from gpuclass.exchange.client.outbox import Outbox
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.store import Store
from gpuclass.exchange.wire import FEEDBACK_MARK
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree, user

pytestmark = pytest.mark.slow

PLUGIN = "gpuclass.exchange.client.classes"
CLASSES = {
    "exchange": "Exchange",
    "fetch_assignment": "ExchangeFetchAssignment",
    "fetch_feedback": "ExchangeFetchFeedback",
    "release_assignment": "ExchangeReleaseAssignment",
    "release_feedback": "ExchangeReleaseFeedback",
    "list": "ExchangeList",
    "submit": "ExchangeSubmit",
    "collect": "ExchangeCollect",
}


class Desk:
    """Somebody's folder in a container, and nbgrader there."""

    def __init__(self, camp: Camp, login: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.camp = camp
        self.login = login
        self.folder = folder
        self.monkeypatch = monkeypatch
        folder.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)
        camp.hub.users[f"token-of-{login}"] = user(login)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "GPUCLASS_EXCHANGE_URL": self.camp.settings.exchange_url,
            "GPUCLASS_COURSE": "camp",
            "GPUCLASS_LANGUAGE": "en",
            "GPUCLASS_TIMEZONE": "Asia/Seoul",
            "JUPYTERHUB_API_TOKEN": f"token-of-{self.login}",
            "JUPYTERHUB_USER": self.login,
            "HOME": str(self.home),
        }

    @property
    def home(self) -> Path:
        """Where the plugin keeps what it has to; the work folders lie elsewhere."""
        return self.folder.with_name(f"home-of-{self.login}")

    def do(self, what: str, assignment: str = "", **options: Any) -> Any:
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.chdir(self.folder)
        config = Config()
        for trait, name in CLASSES.items():
            config.ExchangeFactory[trait] = f"{PLUGIN}.{name}"
        factory = ExchangeFactory(config=config)
        course = CourseDirectory(root=str(self.folder), course_id="camp", assignment_id=assignment, student_id="*")
        made = getattr(factory, what)(coursedir=course, authenticator=Authenticator(), config=config, **options)
        return made.start()

    def listed(self, assignment: str, **options: Any) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.do("List", **options)
        return next(item for item in found if item["assignment_id"] == assignment)

    def submissions(self, assignment: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.listed(assignment, cached=True)["submissions"]
        return entries


@pytest.fixture
def student(camp: Camp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(camp, "student1", tmp_path / "student1", monkeypatch)


@pytest.fixture
def teacher(camp: Camp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(camp, "teacher", tmp_path / "course", monkeypatch)


@pytest.fixture
def store(camp: Camp) -> Iterator[Store]:
    """The store, as the grading worker opens it beside the service."""
    with Store(camp.settings.exchange_folder) as store:
        yield store


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_day_of_an_assignment(student: Desk, teacher: Desk, store: Store) -> None:
    files = {"warm-up.ipynb": b'{"cells": []}', "data/points.csv": b"1,2\n"}
    write(teacher.folder / "release" / "day", files)
    teacher.do("ReleaseAssignment", "day")
    assert student.listed("day")["status"] == "released"
    student.do("FetchAssignment", "day")
    assert contents(student.folder / "day") == files
    assert student.listed("day")["status"] == "fetched"
    write(student.folder / "day", {"warm-up.ipynb": b'{"cells": ["answer"]}'})
    student.do("Submit", "day")
    assert student.submissions("day")[0]["has_exchange_feedback"] is False

    job = store.claim()
    assert job is not None
    sent = store.submission(job.submission)
    store.write_files(sent, teacher.folder / "submitted" / "student1" / "day")
    assert (teacher.folder / "submitted/student1/day/warm-up.ipynb").read_bytes() == b'{"cells": ["answer"]}'
    store.put_feedback(sent, {"warm-up.html": b"<p>good"}, released=True, score=3, max_score=4)
    store.finish(job.id)

    [entry] = student.submissions("day")
    assert (entry["has_exchange_feedback"], entry["has_local_feedback"]) == (True, False)
    assert "3 of 4 points" in entry["timestamp"]
    student.do("FetchFeedback", "day")
    [entry] = student.submissions("day")
    assert (entry["has_local_feedback"], entry["feedback_updated"]) == (True, False)
    assert (Path(entry["local_feedback_path"]) / "warm-up.html").read_bytes() == b"<p>good"
    assert Path(entry["local_feedback_path"]).name == entry["timestamp"]


def test_a_fetch_never_overwrites_and_replaces_only_what_is_missing(student: Desk, camp: Camp, assignment: str) -> None:
    student.do("FetchAssignment", assignment)
    notebook = student.folder / assignment / "warm-up.ipynb"
    notebook.write_bytes(b"my work")
    with pytest.raises(ExchangeError, match="is there already; nothing in it is changed"):
        student.do("FetchAssignment", assignment)
    (student.folder / assignment / "extra.txt").write_bytes(b"mine")
    student.do("FetchAssignment", assignment, replace_missing_files=True)
    assert contents(student.folder / assignment) == {"warm-up.ipynb": b"my work", "extra.txt": b"mine"}
    notebook.unlink()
    student.do("FetchAssignment", assignment, replace_missing_files=True)
    assert notebook.read_bytes() == NOTEBOOK["warm-up.ipynb"]


def test_a_fetch_does_not_write_through_a_link(student: Desk, assignment: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (student.folder / assignment).symlink_to(elsewhere)
    for replace in (False, True):
        with pytest.raises(ExchangeError):
            student.do("FetchAssignment", assignment, replace_missing_files=replace)
    assert list(elsewhere.iterdir()) == []


def test_links_pipes_and_what_they_lead_to_are_not_sent(
    student: Desk, camp: Camp, assignment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    write(secret, {"key.txt": b"not yours"})
    folder = student.folder / assignment
    write(folder, NOTEBOOK)
    (folder / "key.txt").symlink_to(secret / "key.txt")
    (folder / "inside").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    student.do("Submit", assignment)
    sent = camp.by("teacher").get(f"api/submission/camp/{assignment}/student1").json()["files"]
    assert [file["path"] for file in sent] == ["warm-up.ipynb"]
    assert all(f"not sent: {name} (a link" in caplog.text for name in ("key.txt", "inside", "pipe"))


def test_a_linked_folder_is_not_submitted(student: Desk, assignment: str, tmp_path: Path) -> None:
    write(tmp_path / "other", NOTEBOOK)
    (student.folder / assignment).symlink_to(tmp_path / "other")
    with pytest.raises(ExchangeError, match="link to somewhere else"):
        student.do("Submit", assignment)


def test_a_file_with_an_unfit_name_does_not_hold_up_the_notebook(
    student: Desk, camp: Camp, assignment: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(student.folder / assignment, {**NOTEBOOK, "a:b.txt": b"", "Warm-Up.ipynb ": b"", "WARM-UP.ipynb": b""})
    student.do("Submit", assignment)
    sent = camp.by("teacher").get(f"api/submission/camp/{assignment}/student1").json()["files"]
    assert [file["path"] for file in sent] in (["warm-up.ipynb"], ["WARM-UP.ipynb"])
    assert "a:b.txt" in caplog.text


def test_what_nbgrader_ignores_and_feedback_are_not_sent(student: Desk, camp: Camp, assignment: str) -> None:
    own = {".ipynb_checkpoints/warm-up.ipynb": b"", "feedback/old/warm-up.html": b"", "timestamp.txt": b"1999"}
    write(student.folder / assignment, {**NOTEBOOK, **own})
    student.do("Submit", assignment)
    sent = camp.by("teacher").get(f"api/submission/camp/{assignment}/student1").json()["files"]
    assert [file["path"] for file in sent] == ["warm-up.ipynb"]


def test_submitting_twice_is_two_submissions_and_both_are_listed(student: Desk, assignment: str) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    student.do("Submit", assignment)
    labels = [entry["timestamp"] for entry in student.submissions(assignment)]
    assert len(set(labels)) == 2
    assert labels == sorted(labels)
    assert all("waiting to be graded" in label for label in labels)


def test_the_receipt_is_shown_in_the_classs_time(
    student: Desk, assignment: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(student.folder / assignment, NOTEBOOK)
    caplog.set_level("INFO")
    student.do("Submit", assignment)
    [receipt] = [record.message for record in caplog.records if "Submitted" in record.message]
    label = student.submissions(assignment)[0]["timestamp"]
    assert label.split(" (")[0].replace(".", ":") in receipt


def test_what_was_sent_or_refused_is_not_kept(student: Desk, assignment: str) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    assert Outbox(student.home).pending() == []
    (student.folder / assignment / "warm-up.ipynb").rename(student.folder / assignment / "other.ipynb")
    with pytest.raises(ExchangeError, match="not in the folder"):
        student.do("Submit", assignment, strict=True)
    assert Outbox(student.home).pending() == []


def test_submitting_without_the_notebook_warns_or_with_strict_refuses(
    student: Desk, assignment: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(student.folder / assignment, {"mine.ipynb": b"{}"})
    with pytest.raises(ExchangeError, match=r"Not submitted\. not in the folder: warm-up\.ipynb"):
        student.do("Submit", assignment, strict=True)
    student.do("Submit", assignment)
    assert "not in the folder: warm-up.ipynb" in caplog.text


def test_an_unknown_assignment_is_refused_with_those_there_are(student: Desk, assignment: str) -> None:
    with pytest.raises(ExchangeError, match=f"There is no assignment 'nothing'.*{assignment}"):
        student.do("FetchAssignment", "nothing")
    with pytest.raises(ExchangeError, match="Fetch the assignment first"):
        student.do("Submit", assignment)


def test_feedback_of_unknown_pages_is_not_fetched(student: Desk, store: Store, assignment: str) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    sent = store.latest_submission("camp", assignment, "student1")
    assert sent is not None
    store.put_feedback(sent, {"warm-up.html": b"page", "evil.html": b"<script>"}, released=True)
    student.do("FetchFeedback", assignment)
    assert [path.name for path in (student.folder / assignment / "feedback").rglob("*.html")] == ["warm-up.html"]


def test_feedback_is_not_seen_before_the_deadline_and_after_it_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "camp").mkdir()
    with running(tmp_path / "camp", feedback="after_deadline") as camp, Store(camp.settings.exchange_folder) as store:
        store.release("camp", "day", NOTEBOOK, by="teacher")
        deadlines, now = Deadlines(store), store.clock()
        deadlines.put("camp", "day", now + timedelta(days=2), by="teacher")
        student = Desk(camp, "student1", tmp_path / "student1", monkeypatch)
        write(student.folder / "day", NOTEBOOK)
        student.do("Submit", "day")
        sent, job = store.latest_submission("camp", "day", "student1"), store.claim()
        assert sent is not None
        assert job is not None
        store.put_feedback(sent, {"warm-up.html": b"page"}, released=False, score=1, max_score=4)
        store.finish(job.id)
        [entry] = student.submissions("day")
        assert (entry["has_exchange_feedback"], entry["score"]) == (False, None)
        assert "the result is shown after the deadline" in entry["timestamp"]
        student.do("FetchFeedback", "day")
        assert not (student.folder / "day" / "feedback").exists()

        deadlines.put("camp", "day", now - timedelta(seconds=1), by="teacher")
        [entry] = student.submissions("day")
        assert (entry["has_exchange_feedback"], entry["score"]) == (True, 1)
        assert "1 of 4 points" in entry["timestamp"]
        student.do("FetchFeedback", "day")
        [page] = (student.folder / "day" / "feedback").rglob("*.html")
        assert page.read_bytes() == b"page"


def test_new_feedback_is_announced_and_fetched_again(student: Desk, store: Store, assignment: str) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    sent = store.latest_submission("camp", assignment, "student1")
    assert sent is not None
    for text in (b"first", b"second"):
        store.put_feedback(sent, {"warm-up.html": text}, released=True)
        student.do("FetchFeedback", assignment)
        [entry] = student.submissions(assignment)
        assert (Path(entry["local_feedback_path"]) / "warm-up.html").read_bytes() == text
    store.put_feedback(sent, {"warm-up.html": b"third"}, released=True)
    assert student.submissions(assignment)[0]["feedback_updated"] is True


def test_releasing_again_needs_force_and_keeps_every_submission(
    student: Desk, teacher: Desk, camp: Camp, assignment: str
) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    write(teacher.folder / "release" / assignment, {"warm-up.ipynb": b"corrected"})
    with pytest.raises(ExchangeError, match="is released already"):
        teacher.do("ReleaseAssignment", assignment)
    teacher.do("ReleaseAssignment", assignment, force=True)
    assert len(student.submissions(assignment)) == 1


def test_collect_brings_the_latest_once_with_the_servers_time(
    student: Desk, teacher: Desk, camp: Camp, assignment: str
) -> None:
    place = teacher.folder / "submitted" / "student1" / assignment
    for text in (b"first", b"second"):
        write(student.folder / assignment, {"warm-up.ipynb": text})
        student.do("Submit", assignment)
    teacher.do("Collect", assignment)
    latest = camp.by("teacher").get(f"api/submission/camp/{assignment}/student1").json()["timestamp"]
    assert contents(place) == {"warm-up.ipynb": b"second", "timestamp.txt": latest.encode()}
    write(student.folder / assignment, {"warm-up.ipynb": b"third"})
    student.do("Submit", assignment)
    teacher.do("Collect", assignment)
    assert (place / "warm-up.ipynb").read_bytes() == b"second"
    teacher.do("Collect", assignment, update=True)
    assert (place / "warm-up.ipynb").read_bytes() == b"third"
    assert [path.name for path in place.parent.iterdir()] == [assignment]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own, in add_submission
def test_released_feedback_is_of_known_pages_with_the_gradebooks_score(
    student: Desk, teacher: Desk, assignment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    teacher.do("Collect", assignment)
    stamp = (teacher.folder / "submitted" / "student1" / assignment / "timestamp.txt").read_bytes()
    place = teacher.folder / "feedback" / "student1" / assignment
    page = f"{FEEDBACK_MARK} good".encode()
    write(place, {"warm-up.html": page, "planted.html": b"<script>", "timestamp.txt": stamp})
    (place / "linked.html").symlink_to("/etc/passwd")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")  # the gradebook starts alembic from there
    with Gradebook(f"sqlite:///{teacher.folder}/gradebook.db", "camp") as gradebook:
        gradebook.add_assignment(assignment)
        gradebook.add_notebook("warm-up", assignment)
        gradebook.add_grade_cell("q1", "warm-up", assignment, max_score=4, cell_type="code")
        gradebook.add_student("student1")
        gradebook.add_submission(assignment, "student1")
        grade = gradebook.find_grade("q1", "warm-up", assignment, "student1")
        grade.manual_score = 2.5
        gradebook.db.commit()
    teacher.do("ReleaseFeedback", assignment)
    student.do("FetchFeedback", assignment)
    assert list(contents(student.folder / assignment / "feedback").values()) == [page]
    [entry] = student.submissions(assignment)
    assert (entry["score"], entry["max_score"]) == (2.5, 4)


def test_inbound_lists_everybodys_submissions_for_instructors_only(
    student: Desk, teacher: Desk, assignment: str
) -> None:
    write(student.folder / assignment, NOTEBOOK)
    student.do("Submit", assignment)
    assert teacher.listed(assignment, inbound=True)["student_id"] == "student1"
    with pytest.raises(ExchangeError, match="may not do this"):
        student.do("List", inbound=True)


def test_removing_hides_an_assignment_and_never_a_submission(
    student: Desk, teacher: Desk, camp: Camp, assignment: str
) -> None:
    for options in ({"inbound": True}, {"cached": True}):
        with pytest.raises(ExchangeError, match="cannot be removed"):
            teacher.do("List", assignment, remove=True, **options)
    with pytest.raises(ExchangeError, match="may not do this"):
        student.do("List", assignment, remove=True)
    teacher.do("List", assignment, remove=True)
    assert assignment not in camp.by("student1").get("api/assignments/camp").json()["assignments"]


def test_outside_a_class_server_it_says_so(student: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Desk, "environment", {"GPUCLASS_COURSE": "camp", "GPUCLASS_LANGUAGE": "en"})
    with pytest.raises(ExchangeError, match="GPUCLASS_EXCHANGE_URL is not set"):
        student.do("List")


def test_an_expired_token_is_told_in_words(student: Desk) -> None:
    student.login = "student-gone"  # whose token the hub does not know
    with pytest.raises(ExchangeError, match="login is no longer valid"):
        student.do("List")


def test_messages_are_korean_unless_the_class_is_english(student: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    english = student.environment
    monkeypatch.setattr(Desk, "environment", {**english, "GPUCLASS_LANGUAGE": "ko"})
    with pytest.raises(ExchangeError, match="과제가 없어요"):
        student.do("FetchAssignment", "nothing")


def test_the_nbgrader_command_submits_and_lists(student: Desk, camp: Camp, assignment: str, tmp_path: Path) -> None:
    configuration = [f'c.ExchangeFactory.{t} = "{PLUGIN}.{name}"' for t, name in CLASSES.items()]
    (student.folder / "nbgrader_config.py").write_text("\n".join(configuration))
    write(student.folder / assignment, NOTEBOOK)
    environment = {"PATH": os.environ["PATH"], **student.environment}

    def nbgrader(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("nbgrader"), *arguments],
            cwd=student.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = nbgrader("submit", assignment)
    assert done.returncode == 0, done.stderr
    assert f"Submitted: {assignment}" in done.stderr
    listed = nbgrader("list", "--cached", "--json", assignment)
    assert json.loads(listed.stdout)[0]["submissions"][0]["submission"] > 0


def test_what_is_too_large_is_told_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "camp").mkdir()
    with running(tmp_path / "camp", file_limit="100K", submission_limit="150K", files_limit=3) as camp:
        camp.by("teacher").post("api/assignment/camp/big", data={"files": tree(NOTEBOOK)})
        student = Desk(camp, "student1", tmp_path / "student1", monkeypatch)
        folder = student.folder / "big"
        write(folder, {"warm-up.ipynb": b" " * 110_000})
        with pytest.raises(ExchangeError, match=r"Not submitted\. 'warm-up\.ipynb' has 0\.1 MB; a file may"):
            student.do("Submit", "big")
        write(folder, {"warm-up.ipynb": b" " * 90_000, "a.bin": b" " * 90_000})
        with pytest.raises(ExchangeError, match=r"All files together have 0\.2 MB"):
            student.do("Submit", "big")
        write(folder, {"a.bin": b"", "b.bin": b"", "c.bin": b""})
        with pytest.raises(ExchangeError, match="There are 4 files; a submission may have 3"):
            student.do("Submit", "big")
        (folder / "c.bin").unlink()
        write(folder, {"model.pt": b" " * 200_000})
        student.do("Submit", "big")  # the model is left out, the notebook arrives
        assert len(student.submissions("big")) == 1


@pytest.mark.parametrize(("language", "text"), [("ko", "과제 목록을"), ("en", "The list of assignments")])
def test_the_assignments_tab_shows_one_sentence_instead_of_a_traceback(
    student: Desk, language: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = AssignmentList()
    manager.root_dir = str(student.folder)
    configuration = [f'c.ExchangeFactory.{t} = "{PLUGIN}.{name}"' for t, name in CLASSES.items()]
    (student.folder / "nbgrader_config.py").write_text("\n".join(configuration))
    environment = {**student.environment, "GPUCLASS_LANGUAGE": language, "JUPYTER_CONFIG_DIR": str(student.folder)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused = plain(manager.fetch_assignment("camp", "nothing"))["value"]
    assert "nothing" in refused
    assert "\n" not in refused
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "expired")
    assert text in plain(manager.list_assignments("camp"))["value"]


def test_the_client_needs_nothing_of_the_server() -> None:
    check = (
        "import sys, gpuclass.exchange.client.classes; print(*{'fastapi', 'pydantic', 'uvicorn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert set(client.__all__) == set(CLASSES.values())
