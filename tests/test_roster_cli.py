"""`gpuclass roster …` where no hub is running; tests/test_login_hub.py has one that is."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from gpuclass.accounts import Accounts
from gpuclass.cli import app
from gpuclass.passwords import matches

ROSTER = "login,name,role,team\ns01,김하늘,student,1조\nt01,박선생,instructor,\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A network on the loopback device: nobody answers at the hub's address, and at once.
    (tmp_path / "class.toml").write_text('[class]\nname = "t"\ntitle = "T"\n[network]\nsubnet = "127.11.0.0/24"\n')
    (tmp_path / "roster.csv").write_text(ROSTER, encoding="utf-8")
    monkeypatch.setenv("GPUCLASS_CONFIG", str(tmp_path / "class.toml"))
    return tmp_path


def gpuclass(*command: str) -> Result:
    return CliRunner().invoke(app, ["roster", *command])


def test_a_dry_run_says_what_would_change_and_changes_nothing(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    result = gpuclass("import", "--dry-run")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["2 new: s01, t01", "2 get a password: s01, t01", "0 as before"]
    assert {path.name for path in folder.iterdir()} == before


def test_passwords_are_printed_once(folder: Path) -> None:
    result = gpuclass("import")
    assert result.exit_code == 0, result.output
    assert "No hub is running; it will know when it starts." in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["login"], row["name"], row["role"], row["team"]) for row in rows] == [
        ("s01", "김하늘", "student", "1조"),
        ("t01", "박선생", "instructor", ""),
    ]
    account = Accounts(folder / "accounts.sqlite").get("s01")
    assert account is not None
    assert matches(account.password, rows[0]["password"])
    again = gpuclass("import")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "2 as before" in again.stderr


def test_passwords_go_to_a_new_file_that_excel_reads_and_only_the_owner_sees(folder: Path) -> None:
    cards = folder / "cards.csv"
    result = gpuclass("import", "--passwords", str(cards))
    assert (result.exit_code, result.stdout) == (0, "")
    assert cards.stat().st_mode & 0o777 == 0o600
    assert cards.read_bytes().startswith(b"\xef\xbb\xbflogin,name,role,team,password\r\n")
    assert gpuclass("import", "--passwords", str(cards)).exit_code == 0, "no new password, no reason to refuse"


def test_a_file_with_passwords_is_never_written_over(folder: Path) -> None:
    cards = folder / "cards.csv"
    cards.write_text("dear")
    result = gpuclass("import", "--passwords", str(cards))
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert cards.read_text() == "dear"
    assert Accounts(folder / "accounts.sqlite").all() == {}


def test_a_bad_roster_changes_nothing_and_names_the_lines(folder: Path) -> None:
    gpuclass("import")
    (folder / "roster.csv").write_text(ROSTER + "S02,,boss,\n", encoding="utf-8")
    result = gpuclass("import")
    assert result.exit_code == 1
    assert "line 4: login 'S02'" in result.stderr
    assert "line 4: role 'boss'" in result.stderr
    assert set(Accounts(folder / "accounts.sqlite").all()) == {"s01", "t01"}


def test_list_shows_who_is_in_and_who_left(folder: Path) -> None:
    assert "Nobody yet" in gpuclass("list").stdout
    gpuclass("import")
    (folder / "roster.csv").write_text(ROSTER.replace("t01", "t02"), encoding="utf-8")
    gpuclass("import")
    table = gpuclass("list").stdout
    assert "김하늘" in table
    assert [line.split()[-1] for line in table.splitlines() if line.split()[0] == "t01"] == ["left"]
    assert json.loads(gpuclass("list", "--json").stdout) == [
        {"login": "s01", "name": "김하늘", "role": "student", "team": "1조", "active": True},
        {"login": "t02", "name": "박선생", "role": "instructor", "team": "", "active": True},
        {"login": "t01", "name": "박선생", "role": "instructor", "team": "", "active": False},
    ]


def test_reset_prints_the_new_password_and_nothing_else(folder: Path) -> None:
    gpuclass("import")
    password = gpuclass("reset", "s01").stdout.strip()
    account = Accounts(folder / "accounts.sqlite").get("s01")
    assert account is not None
    assert matches(account.password, password)
    unknown = gpuclass("reset", "s99")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "nobody in the class logs in as 's99'" in unknown.stderr


def test_another_authenticator_has_no_passwords_here(folder: Path) -> None:
    with (folder / "class.toml").open("a") as file:
        file.write('[login]\nauthenticator = "dummy"\n')
    assert gpuclass("import").stdout == ""
    reset = gpuclass("reset", "s01")
    assert reset.exit_code == 1
    assert "passwords are kept by dummy" in reset.stderr


@pytest.fixture
def hub_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that is there and refuses everything."""
    real = httpx.Client

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/hub/api/":
            return httpx.Response(200, json={"version": "6.1.1"})
        return httpx.Response(403, text="no")

    def client(**options: Any) -> httpx.Client:
        return real(**options, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(httpx, "Client", client)


@pytest.mark.usefixtures("hub_without_rights")
def test_a_hub_that_refuses_is_named_and_the_accounts_are_kept(folder: Path) -> None:
    result = gpuclass("import")
    assert result.exit_code == 1
    assert "the hub answered GET /users?offset=0&limit=200 with 403" in result.stderr
    assert "run `gpuclass roster import` again" in result.stderr
    assert set(Accounts(folder / "accounts.sqlite").all()) == {"s01", "t01"}
