"""``gpuclass exchange …`` as an operator types it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gpuclass import cli, roster
from gpuclass.accounts import Accounts
from gpuclass.exchange.operating import hashing
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.deadlines import Deadline, Deadlines
from gpuclass.exchange.store.store import Store
from gpuclass.roster import Roster
from gpuclass.settings import SERVICE_UID, Settings
from tests.conftest import MakeSettings
from tests.exchange.conftest import ROSTER, running
from tests.exchange.stocknbgrader import write

Command = Callable[..., Result]
SIX = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)  # 18:00 in Seoul


@pytest.fixture
def class_(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """A class with a roster and one assignment, released; no service runs."""
    settings = make_settings()
    (tmp_path / "roster.csv").write_text(ROSTER, encoding="utf-8")
    Accounts(settings.accounts_path).apply(roster.read(settings.roster_path), {})
    with Store(settings.exchange_folder) as store:
        Courses(store, settings.course, lambda: Roster(()))
        store.release("camp", "warm-up", {"warm-up.ipynb": b"{}"}, by="teacher")
    return settings


@pytest.fixture
def exchange(class_: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``gpuclass exchange …`` in this process, which is not to become slow for the tests after it."""
    monkeypatch.setattr(hashing, "go_gently", lambda: None)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(
            cli.app, ["exchange", *arguments], env={"GPUCLASS_CONFIG": str(class_.path), "COLUMNS": "200"}
        )

    return run


def deadline(settings: Settings) -> Deadline:
    with Store(settings.exchange_folder) as store:
        return Deadlines(store).of("camp", "warm-up")


def test_alone_it_shows_its_commands() -> None:
    shown = CliRunner().invoke(cli.app, ["exchange"])
    assert "serve" in shown.output
    assert "deadline" in shown.output


def test_a_deadline_is_typed_and_shown_in_the_classs_time(exchange: Command, class_: Settings) -> None:
    result = exchange("deadline", "warm-up", "2026-11-24 18:00")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("warm-up: due Tue 2026-11-24 18:00 (Asia/Seoul), ")
    assert deadline(class_) == Deadline(SIX)
    assert exchange("deadline", "warm-up").stdout == result.stdout


def test_a_student_gets_longer_and_loses_it_again(exchange: Command, class_: Settings) -> None:
    exchange("deadline", "warm-up", "2026-11-24 18:00")
    result = exchange("deadline", "warm-up", "2026-11-24 19:00", "--student", "student1")
    assert "\n  student1: due Tue 2026-11-24 19:00 (Asia/Seoul), " in result.stdout
    assert "Warning: nobody" not in result.stderr
    assert deadline(class_) == Deadline(SIX, {"student1": SIX + timedelta(hours=1)})
    assert exchange("deadline", "warm-up", "--student", "student2").stdout.startswith(
        "warm-up, student2: due Tue 2026-11-24 18:00"
    )
    exchange("deadline", "warm-up", "none", "--student", "student1")
    assert deadline(class_) == Deadline(SIX)


def test_none_takes_the_deadline_away(exchange: Command, class_: Settings) -> None:
    exchange("deadline", "warm-up", "2026-11-24 18:00")
    assert exchange("deadline", "warm-up", "none").stdout == "warm-up: no deadline; nobody is late\n"
    assert deadline(class_) == Deadline()


def test_an_extension_without_effect_says_so(exchange: Command) -> None:
    assert (
        "(no effect: the class has no deadline)"
        in exchange("deadline", "warm-up", "2026-11-24 18:00", "--student", "student1").stdout
    )
    assert "(no effect: the class has longer)" in exchange("deadline", "warm-up", "2026-11-24 19:00").stdout


def test_a_deadline_in_the_past_and_a_stranger_are_warned_of(exchange: Command) -> None:
    past = exchange("deadline", "warm-up", "2020-01-01 18:00")
    assert past.exit_code == 0
    assert "that is in the past; what comes now is late" in past.stderr
    assert (
        "nobody in the class logs in as 'studnet1'"
        in exchange("deadline", "warm-up", "+1h", "--student", "studnet1").stderr
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("warmup", "18:00"), "No assignment 'warmup' is released in camp. Released: warm-up."),
        (("warm-up", "18:00", "--course", "champ"), "There is no course 'champ'"),
        (("warm-up", "tonight"), "'tonight' is not a time; write \"2026-11-24 18:00\""),
        (("warm-up", "18:00", "--student", "a/b"), "'a/b' cannot be anybody's login."),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    exchange: Command, class_: Settings, arguments: tuple[str, ...], said: str
) -> None:
    result = exchange("deadline", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert deadline(class_) == Deadline()


def test_verify_says_that_all_is_well(exchange: Command) -> None:
    result = exchange("verify")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 files (2B) of 0 submissions, 1 releases and 0 feedbacks in ")
    assert result.stdout.endswith(": all as they were\n")


def test_verify_names_what_is_damaged_and_fails(exchange: Command, class_: Settings) -> None:
    with Store(class_.exchange_folder) as store:
        submission = store.submit("camp", "warm-up", "student1", {"warm-up.ipynb": b"[]"})
        path = store.blobs.path(store.files(submission)[0].sha256)
    path.unlink()
    result = exchange("verify")
    assert result.exit_code == 1
    assert f"{path.relative_to(class_.exchange_folder)} is missing.\n  part of student1's submission 1" in result.stdout
    assert "Put the file of the same name from a backup there" in result.stdout
    answer = json.loads(exchange("verify", "--json").stdout)
    assert (answer["well"], answer["damages"][0]["holders"][0]["student"]) == (False, "student1")


def test_reading_everything_lets_the_class_go_first() -> None:
    command = "import os; from gpuclass.exchange.operating.hashing import go_gently; go_gently(); print(os.nice(0))"
    command += "; import subprocess; subprocess.run(['ionice', '-p', str(os.getpid())])"
    assert subprocess.check_output([sys.executable, "-c", command], text=True) == "19\nidle\n"


def test_verify_looks_at_a_backup_too(exchange: Command, class_: Settings, tmp_path: Path) -> None:
    assert exchange("verify", "--folder", str(tmp_path / "none")).exit_code == 1
    shutil.copytree(class_.exchange_folder, tmp_path / "backup")
    assert exchange("verify", "--folder", str(tmp_path / "backup")).exit_code == 0


def test_backup_says_what_is_new(exchange: Command, class_: Settings, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    assert exchange("backup", str(target)).stdout == f"{target}: 1 new files (2B), 0 were there already\n"
    assert exchange("backup", str(target)).stdout == f"{target}: 0 new files (0B), 1 were there already\n"
    assert exchange("verify", "--folder", str(target)).exit_code == 0


def test_a_course_goes_out_and_comes_in_by_command(exchange: Command, class_: Settings, tmp_path: Path) -> None:
    with Store(class_.exchange_folder) as store:
        store.submit("camp", "warm-up", "student1", {"warm-up.ipynb": b"[]"})
        store.submit("camp", "warm-up", "stranger", {"warm-up.ipynb": b"[]"})
    out = tmp_path / "out"
    said = "camp: 1 assignments, 2 submissions of 2 students and 0 feedbacks, 3 files (6B), "
    assert exchange("export", "camp", str(out), "--dry-run").stdout == f"{said}would be written to {out}\n"
    assert exchange("export", "camp", str(out)).stdout == f"{said}written to {out}\n"
    again = exchange("export", "camp", str(out))
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is not an empty folder" in again.stderr
    shutil.rmtree(class_.exchange_folder)
    took = "taken into camp: 1 assignments, 1 versions, 0 deadlines, 2 submissions of 2 students, 0 feedbacks; "
    result = exchange("import", "camp", str(out), "--dry-run")
    assert result.stdout == f"would be {took}0 submissions were there already; 0 to be graded\n"
    result = exchange("import", "camp", str(out), "--grade")
    assert (result.exit_code, result.stdout) == (0, f"{took}0 submissions were there already; 2 to be graded\n")
    assert result.stderr == "Note: not in the roster: stranger.\n"
    assert "; 2 submissions were there already" in exchange("import", "camp", str(out)).stdout
    assert exchange("verify").exit_code == 0


@pytest.mark.slow
def test_a_running_exchange_has_what_was_imported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "go_gently", lambda: None)
    write(
        tmp_path / "root" / "camp",
        {
            "outbound/warm-up/warm-up.ipynb": b"{}",
            "inbound/student1+warm-up+2026-01-05 09:00:00.000000 UTC+abc/warm-up.ipynb": b"[]",
        },
    )
    (tmp_path / "class").mkdir()
    with running(tmp_path / "class") as camp:
        environment = {"GPUCLASS_CONFIG": str(camp.settings.path)}
        result = CliRunner().invoke(cli.app, ["exchange", "import", "camp", str(tmp_path / "root")], env=environment)
        assert result.exit_code == 0, result.output
        answer = camp.by("teacher").get("api/submissions/camp/warm-up").json()
        assert [(each["student_id"], each["timestamp"]) for each in answer["submissions"]] == [
            ("student1", "2026-01-05 09:00:00.000000 UTC")
        ]
        released = camp.by("student1").get("api/assignment/camp/warm-up").json()
        assert [file["path"] for file in released["files"]] == ["warm-up.ipynb"]


def test_what_an_import_leaves_out_is_said_and_fails(exchange: Command, class_: Settings, tmp_path: Path) -> None:
    place = tmp_path / "root" / "camp" / "inbound" / "student1+warm-up+1999-01-01 09:00:00.000000 UTC+abc"
    place.mkdir(parents=True)
    (place / "warm-up.ipynb").write_text("{}")
    result = exchange("import", "camp", str(tmp_path / "root"))
    assert result.exit_code == 1
    assert "Left out: 'inbound/student1+warm-up+1999-01-01" in result.stderr
    assert exchange("import", "champ", str(tmp_path / "root")).exit_code == 2


def test_a_full_disk_is_said_in_one_sentence(exchange: Command, class_: Settings, tmp_path: Path) -> None:
    assert exchange("export", "camp", str(tmp_path / "out")).exit_code == 0
    shutil.rmtree(class_.exchange_folder)
    class_.path.write_text(class_.path.read_text() + '[exchange]\nreserve = "900000T"\n')
    result = exchange("import", "camp", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "The disk has no room beyond the reserve ([exchange] reserve). Nothing was taken" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files that the service user cannot read")
def test_as_root_nothing_is_left_that_the_service_could_not_read(class_: Settings) -> None:
    out = str(class_.data / "out")
    assert CliRunner().invoke(
        cli.app, ["exchange", "export", "camp", out], env={"GPUCLASS_CONFIG": str(class_.path)}
    ).exit_code == 0  # fmt: skip
    for path in (class_.data, *class_.data.rglob("*")):
        os.chown(path, SERVICE_UID, SERVICE_UID)
    owners = {}
    reader = sqlite3.connect(f"file:{class_.exchange_folder / 'exchange.db'}?mode=ro", uri=True)  # keeps -wal and -shm
    for command in (
        ("status",),
        ("verify",),
        ("backup", str(class_.data / "backup")),
        ("deadline", "warm-up", "2026-11-24 18:00"),
        ("import", "camp", out, "--into", "autumn"),
    ):
        result = subprocess.run(
            [Path(sys.executable).with_name("gpuclass"), "exchange", *command],
            env={"GPUCLASS_CONFIG": str(class_.path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        assert result.returncode == (command == ("status",)), result.stderr  # no class is open
        reader.execute("SELECT count(*) FROM courses").fetchone()
        owners[command[0]] = {path.stat().st_uid for path in class_.exchange_folder.rglob("*")}
    reader.close()
    assert owners == {command: {SERVICE_UID} for command in owners}
