"""Opening and closing a class, with doubles for what needs root or Docker; tests/classroom/ opens real ones."""

import os
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from gpuclass import ROOT, classroom, engine, network
from gpuclass.cli import app
from gpuclass.errors import PlainError
from gpuclass.settings import Settings, SettingsError, load
from tests.conftest import MakeSettings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A class that can be opened."""
    settings.roster_path.write_text("login,name,role,team\ns01,김하늘,student,\n", encoding="utf-8")
    return settings


def test_the_examples_make_a_class_that_can_be_opened(tmp_path: Path) -> None:
    path = classroom.start_from_examples(tmp_path / "new" / "class")
    classroom.check(load(path))
    assert path.read_text("utf-8") == (ROOT / "class.example.toml").read_text("utf-8")


def test_the_examples_never_take_the_place_of_an_operators_files(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text("mine")
    classroom.start_from_examples(tmp_path)
    assert (tmp_path / "roster.csv").read_text() == "mine"
    assert (tmp_path / "class.toml").exists()


def test_all_that_is_not_there_is_named_in_one_message(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings('[curriculum]\nsessions = ["00-warm-up", "99-nothing"]\ndatasets = "data"')
    with pytest.raises(SettingsError) as caught:
        classroom.check(settings)
    assert str(caught.value).splitlines() == [
        f"{settings.path} cannot be used:",
        f"  login.roster: {tmp_path}/roster.csv does not exist; roster.example.csv shows one",
        "  curriculum.sessions: there is no '99-nothing'; known: 00-warm-up, 01-pixels-to-tensors",
        f"  curriculum.datasets: {tmp_path}/data is not a folder",
    ]


def test_a_size_of_seat_that_is_for_nobody_is_refused(make_settings: MakeSettings) -> None:
    settings = make_settings('[gpu]\nmode = "shared"\n[gpu.seats]\ninstructors = 2\nmentor = 2\nred = 2\nteam = 2')
    settings.roster_path.write_text("login,name,role,team\ns01,김하늘,student,red\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        classroom.check(settings)
    assert str(caught.value).splitlines()[1:] == [
        "  gpu.seats: 'instructors' is no role and no team; known: student, mentor, instructor, operator, team, red"
    ]


def test_gpuclass_check_looks_for_what_class_toml_names(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCLASS_CONFIG", str(settings.path))
    good = CliRunner().invoke(app, ["check"])
    assert (good.exit_code, good.stdout) == (0, f"{settings.path}: class 'camp' can be used\n")
    with settings.path.open("a") as file:
        file.write('[login]\nauthenticator = "no.such.Class"\n')
    bad = CliRunner().invoke(app, ["check"])
    assert bad.exit_code == 2
    assert "login.authenticator: 'no.such.Class' cannot be imported" in bad.stderr


OPEN = '[site]\nlisten = "0.0.0.0"'


def test_homes_that_can_fill_the_databases_disk_are_said_in_one_line(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(OPEN)
    (warning,) = classroom.warnings(settings)
    assert str(settings.homes) in warning
    assert "\n" not in warning
    assert (ROOT / warning.rpartition(" ")[2]).is_file()
    (settings.data / "roster.csv").write_text("")
    monkeypatch.setenv("GPUCLASS_CONFIG", str(settings.path))
    said = CliRunner().invoke(app, ["check"])
    assert (said.exit_code, said.stderr) == (0, f"Warning: {warning}\n")
    Steps(monkeypatch)
    opening: list[str] = []
    with classroom.opened(settings, opening.append):
        assert f"Warning: {warning}" in opening


def test_homes_with_a_file_system_of_their_own_or_a_quota_are_no_matter(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(OPEN)
    settings.homes.symlink_to("/proc")
    assert classroom.warnings(settings) == []
    settings.homes.unlink()
    settings.homes.mkdir()
    assert classroom.warnings(settings)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_blocks=10 if path == settings.homes else 100))
    assert classroom.warnings(settings) == []


def test_on_a_developers_machine_the_disk_is_no_matter(settings: Settings) -> None:
    assert classroom.warnings(settings) == []


class Steps:
    """Doubles for the steps of opening, each of which can be told to fail; what they did, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.done: list[str] = []
        steps = self

        class Supervisor:
            def __init__(self, *_: object) -> None:
                """Take what the real one takes."""

            def start(self) -> None:
                steps.do("start")

            def stop(self) -> None:
                steps.do("stop")

        def step(name: str) -> object:
            return lambda *_, **__: self.do(name)

        self._fails = fails
        monkeypatch.setattr(classroom, "only_one", lambda _: nullcontext())
        monkeypatch.setattr(classroom, "set_up", step("set up"))
        monkeypatch.setattr(classroom, "give_to_service_user", step("own"))
        monkeypatch.setattr(classroom, "remove_containers", step("no containers"))
        monkeypatch.setattr(classroom, "Supervisor", Supervisor)
        monkeypatch.setattr(network, "up", step("network up"))
        monkeypatch.setattr(network, "down", step("network down"))
        monkeypatch.setattr(engine, "docker_group_gid", lambda: 0)
        monkeypatch.setattr(engine, "release", step("release engine"))
        monkeypatch.setattr(classroom, "run_as_service_user", lambda _, *words: self.do(" ".join(words)))

    def do(self, name: str) -> None:
        self.done.append(name)
        if name == self._fails:
            raise PlainError(name)


OPENING = ["set up", "own", "curriculum release --unchecked", "no containers", "network up", "start"]
CLOSING = ["stop", "no containers", "network down", "release engine"]


def test_closing_undoes_what_opening_did_in_reverse(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    with classroom.opened(settings):
        assert steps.done == OPENING
    assert steps.done == OPENING + CLOSING


def test_the_roster_is_imported_before_the_hub_starts_when_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    with classroom.opened(settings, passwords=Path("cards.csv")):
        assert steps.done.index("roster import --passwords cards.csv") < steps.done.index("start")


@pytest.mark.parametrize(
    ("fails", "undone"), [("set up", CLOSING[3:]), ("network up", CLOSING[2:]), ("start", CLOSING)]
)
def test_an_opening_that_fails_undoes_what_had_been_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fails: str, undone: list[str]
) -> None:
    steps = Steps(monkeypatch, fails)
    with pytest.raises(PlainError, match=fails), classroom.opened(settings):
        pytest.fail("it was opened")
    assert steps.done == OPENING[: OPENING.index(fails) + 1] + undone


def test_a_class_that_cannot_be_used_is_refused_before_anything_is_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    settings.roster_path.unlink()
    with pytest.raises(SettingsError, match=re.escape("login.roster")), classroom.opened(settings):
        pytest.fail("it was opened")
    assert steps.done == []


def test_a_command_that_fails_as_the_service_user_stops_the_opening(settings: Settings) -> None:
    with pytest.raises(classroom.ClassroomError, match="`gpuclass no-such-command` failed"):
        classroom.run_as_service_user(settings, "no-such-command")
