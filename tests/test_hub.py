"""Settings in, JupyterHub's configuration out; on a bare Config, with no hub running."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from jupyterhub import orm
from sqlalchemy import text
from traitlets.config import Config

from gpuclass import hub, images
from gpuclass.accounts import Accounts
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings
from gpuclass.spawner import ClassSpawner
from tests.conftest import MakeSettings

CONFIGURATION = Path(__file__).parents[1] / "jupyterhub_config.py"
ROSTER = Roster((Person("s001", "이하나", Role.STUDENT, "1"), Person("teacher", "김선생", Role.INSTRUCTOR)))


@pytest.fixture(autouse=True)
def built_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "reference", lambda name: f"gpuclass-{name}:0123456789ab")


def configured(settings: Settings) -> Config:
    Accounts(settings.accounts_path).apply(ROSTER, {})
    c = Config()
    hub.configure(c, settings)
    return c


def test_the_hub_listens_on_the_class_network_where_containers_find_it(settings: Settings) -> None:
    c = configured(settings)
    assert c.JupyterHub.hub_bind_url == c.JupyterHub.hub_connect_url == "http://10.89.0.1:8081"


def test_each_user_has_a_subdomain_unless_the_site_has_none(make_settings: MakeSettings) -> None:
    assert configured(make_settings()).JupyterHub.subdomain_host == "http://localhost:8000"
    without = configured(make_settings("[site]\nsubdomains = false"))
    assert "subdomain_host" not in without.JupyterHub
    assert without.JupyterHub.public_url == "http://localhost:8000/"


def test_a_restart_of_the_hub_stops_nothing(settings: Settings) -> None:
    c = configured(settings)
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.cleanup_proxy is False
    assert c.ConfigurableHTTPProxy.should_start is False


def test_what_the_hub_must_remember_lies_in_the_data_folder(settings: Settings) -> None:
    c = configured(settings)
    assert c.JupyterHub.db_url == f"sqlite:///{settings.data}/hub/jupyterhub.sqlite"
    assert (settings.data / "hub").stat().st_mode & 0o777 == 0o700
    assert configured(settings).JupyterHub.cookie_secret == c.JupyterHub.cookie_secret


def test_the_hubs_commits_do_not_wait_for_the_disk(settings: Settings) -> None:
    c = configured(settings)
    session = orm.new_session_factory(c.JupyterHub.db_url, **c.JupyterHub.db_kwargs)()
    with closing(session):
        session.add(orm.User(name="s001"))
        session.commit()
        pragmas = [session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 1]  # 1: NORMAL
    session.get_bind().dispose()
    assert list((settings.data / "hub").glob("*-wal")) == []  # closed in order, it is one file that can be copied


def test_only_operators_of_the_roster_are_admins(settings: Settings) -> None:
    loaded = {role["name"]: role for role in configured(settings).JupyterHub.load_roles}
    assert loaded["admin"]["users"] == []
    assert loaded["instructor"]["groups"] == ["instructors"]


def test_services_have_tokens_of_their_own(settings: Settings) -> None:
    services = configured(settings).JupyterHub.services
    assert [service["name"] for service in services] == ["exchange", "desk", "roster", "queue"]
    tokens = {service["api_token"] for service in services}
    assert len(tokens) == len(services)
    assert configured(settings).ConfigurableHTTPProxy.auth_token not in tokens


def test_containers_are_ours_hardened_and_removed(settings: Settings) -> None:
    c = configured(settings)
    assert c.JupyterHub.spawner_class is ClassSpawner
    assert c.ClassSpawner.remove is True
    assert c.ClassSpawner.image == "gpuclass-student:0123456789ab"
    assert c.ClassSpawner.network_name == "gpc-camp"
    assert c.ClassSpawner.name_template == "gpuclass-camp-{username}"
    assert c.ClassSpawner.extra_host_config["cap_drop"] == ["ALL"]
    assert c.ClassSpawner.extra_host_config["dns"]


def test_no_student_is_turned_away_because_others_start(settings: Settings) -> None:
    c = configured(settings)
    assert c.JupyterHub.concurrent_spawn_limit == 0
    assert c.ClassSpawner.consecutive_failure_limit == 0


def test_students_choose_neither_image_nor_second_server(settings: Settings) -> None:
    c = configured(settings)
    assert "allowed_images" not in c.ClassSpawner
    assert c.JupyterHub.allow_named_servers is False


def test_the_configuration_file_is_a_shell_over_configure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCLASS_CONFIG", str(settings.path))
    Accounts(settings.accounts_path).apply(ROSTER, {})
    c = Config()
    monkeypatch.setattr("gpuclass.settings.load.__defaults__", (None, {"GPUCLASS_CONFIG": str(settings.path)}))
    begun: list[Settings] = []
    monkeypatch.setattr(hub, "begin", begun.append)
    exec(compile(CONFIGURATION.read_text(encoding="utf-8"), CONFIGURATION, "exec"), {"c": c})  # noqa: S102  # as JupyterHub reads it
    assert c.ClassSpawner.settings == settings
    assert begun == [settings]


@pytest.mark.parametrize("command", ["upgrade-db", "--show-config"])
def test_jupyterhubs_other_commands_begin_no_queue(settings: Settings, command: str) -> None:
    Accounts(settings.accounts_path).apply(ROSTER, {})
    subprocess.run(
        [sys.executable, "-m", "jupyterhub", command, "--config", str(CONFIGURATION)],
        env=os.environ | {"GPUCLASS_CONFIG": str(settings.path)},
        cwd=settings.path.parent,
        check=False,
        timeout=60,
    )
    assert (settings.data / "hub").is_dir()  # the configuration was read
    assert not settings.ledger_path.exists()
