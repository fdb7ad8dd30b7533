"""Login, roles and roster import against a real JupyterHub; its user servers are stand-ins that keep their token."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gpuclass.cli import app
from gpuclass.roles import DESK_ACCESS, EXCHANGE_ACCESS, missing_scopes, server_token_scopes

pytestmark = pytest.mark.slow

CONFIG = """
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from gpuclass import ROOT
from gpuclass.accounts import Accounts
from gpuclass.queue.pages import template_vars
from gpuclass.login import authenticator_class
from gpuclass import roles
from gpuclass.secrets import token
from gpuclass.settings import load

class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {}

class Answers(RequestHandler):
    def get(self): self.write("here")

class StandIn(Spawner):
    # A server inside the hub's own process; its token lies in the file LOGIN for the test to use.
    listener = None
    async def start(self):
        (socket,) = bind_sockets(0, "127.0.0.1")
        self.listener = HTTPServer(Application([(".*", Answers)]))
        self.listener.add_socket(socket)
        (settings.data / self.user.name).write_text(self.api_token)
        return ("127.0.0.1", socket.getsockname()[1])
    async def poll(self): return None if self.listener else 0
    async def stop(self, now=False):
        self.listener.stop()
        self.listener = None

settings = load()
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.cleanup_servers = True
c.JupyterHub.hub_bind_url = settings.hub_api.removesuffix("/hub/api")
c.JupyterHub.db_url = f"sqlite:///{settings.data / 'hub.sqlite'}"
c.JupyterHub.cookie_secret = bytes.fromhex(token(settings.secrets, "cookie"))
c.JupyterHub.template_paths = [str(ROOT / "gpuclass" / "templates")]
c.JupyterHub.template_vars = template_vars(settings, lambda: None)
c.JupyterHub.authenticator_class = authenticator_class(settings)
c.JupyterHub.load_roles = roles.load_roles(settings, Accounts(settings.accounts_path).roster())
names = ("exchange", "desk", "roster", "queue")
c.JupyterHub.services = [{"name": name, "api_token": token(settings.secrets, name)} for name in names]
c.Spawner.server_token_scopes = roles.server_token_scopes()
c.JupyterHub.spawner_class = StandIn
"""
HEADER = "login,name,role,team\n"
ROSTER = (
    HEADER
    + """
s01,김하늘,student,a
s02,이바다,student,b
s03,박구름,student,a
s04,최별,student,a
s05,정달,student,a
m01,조해,mentor,a
t01,박선생,instructor,
op,정운영,operator,
"""
)


class ClassHub:
    """A data folder and the hub that runs on it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.10.0.1", 0))
            port = free.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.10.0.1:{port}/hub"
        self.environment = {**os.environ, "GPUCLASS_CONFIG": str(folder / "class.toml")}
        self.log = folder / "hub.log"
        (folder / "class.toml").write_text(
            f'[class]\nname = "t"\ntitle = "T"\n[site]\nhub_port = {port}\n[network]\nsubnet = "127.10.0.0/24"\n'
        )
        (folder / "hub_config.py").write_text(CONFIG)
        self.passwords: dict[str, str] = {}

    def roster(self, *command: str) -> str:
        """`gpuclass roster …`; its output."""
        result = CliRunner().invoke(app, ["roster", *command], env=self.environment)
        assert result.exit_code == 0, result.output
        return result.output

    def write_roster(self, text: str) -> None:
        (self.folder / "roster.csv").write_text(text, encoding="utf-8")

    def import_roster(self, text: str) -> str:
        self.write_roster(text)
        cards = self.folder / f"cards{len(list(self.folder.glob('cards*')))}.csv"
        output = self.roster("import", "--passwords", str(cards))
        if cards.exists():
            with cards.open(encoding="utf-8-sig", newline="") as file:
                self.passwords |= {row["login"]: row["password"] for row in csv.DictReader(file)}
        return output

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", "hub_config.py"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
            assert self.process.poll() is None, self.log.read_text()
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(30)

    def service(self, name: str) -> httpx.Client:
        """A client with the token of one of the class's services."""
        return self.client((self.folder / "secrets" / name).read_text())

    def client(self, token: str) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/api", headers={"Authorization": f"token {token}"}, timeout=30)

    def users(self) -> dict[str, Any]:
        with self.service("roster") as api:
            return {user["name"]: user for user in api.get("/users").json()}


class Browser(httpx.Client):
    """What a person does with a browser."""

    def __init__(self, hub: ClassHub) -> None:
        super().__init__(base_url=hub.url, timeout=30)
        self.hub = hub

    def login(self, login: str, password: str | None = None) -> httpx.Response:
        page = self.get("/login")
        (xsrf,) = re.findall(r'name="_xsrf" value="([^"]+)"', page.text)
        form = {"_xsrf": xsrf, "username": login, "password": password or self.hub.passwords[login]}
        return self.post("/login", data=form)

    def api(self, method: str, path: str, body: object = None) -> httpx.Response:
        self.get("/token")  # a page of the hub sets the cookie that the next header repeats
        headers = {"X-XSRFToken": next(c.value or "" for c in self.cookies.jar if c.name == "_xsrf")}
        return self.request(method, f"/api{path}", headers=headers, json=body)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClassHub]:
    hub = ClassHub(tmp_path_factory.mktemp("class"))
    hub.import_roster(ROSTER)
    hub.start()
    yield hub
    hub.stop()
    print(hub.log.read_text())


@pytest.fixture
def browser(hub: ClassHub) -> Iterator[Browser]:
    with Browser(hub) as browser:
        yield browser


def test_everybody_is_in_their_groups_before_anyone_logs_in(hub: ClassHub) -> None:
    assert {login: sorted(user["groups"]) for login, user in hub.users().items()} == {
        "s01": ["students", "team-a"],
        "s02": ["students", "team-b"],
        "s03": ["students", "team-a"],
        "s04": ["students", "team-a"],
        "s05": ["students", "team-a"],
        "m01": ["mentors", "team-a"],
        "t01": ["instructors"],
        "op": ["operators"],
    }


def test_the_password_of_the_card_lets_in(browser: Browser) -> None:
    answer = browser.login("s01")
    assert (answer.status_code, answer.headers["location"]) == (302, "/hub/spawn")
    assert browser.api("GET", "/user").json()["name"] == "s01"


def test_capitals_spaces_and_full_width_letters_do_not_matter(hub: ClassHub, browser: Browser) -> None:
    typed = hub.passwords["s01"].upper().replace("-", " ")
    assert browser.login(" Ｓ０１ ", typed).status_code == 302


@pytest.mark.parametrize("login", ["s02", "nobody"])
def test_a_wrong_password_is_answered_alike_for_known_and_unknown_names(browser: Browser, login: str) -> None:
    answer = browser.login(login, "wrong")
    assert answer.status_code == 403
    assert "아이디 또는 비밀번호가 맞지 않아요." in answer.text
    assert f'value="{login}"' in answer.text


def test_a_server_gets_the_scopes_it_was_to_have_and_no_others(hub: ClassHub, browser: Browser) -> None:
    browser.login("s01")
    assert browser.api("POST", "/users/s01/server").status_code == 201
    with hub.client((hub.folder / "s01").read_text()) as server:
        model = server.get("/user").json()
        assert (model["name"], sorted(model["groups"])) == ("s01", ["students", "team-a"])
        assert missing_scopes(server_token_scopes(), model["scopes"], login="s01") == frozenset()
        assert set(model["scopes"]) == {
            "users:activity!user=s01",
            "read:users:activity!user=s01",
            "read:users:name!user=s01",
            "read:users:groups!user=s01",
            "access:servers!server=s01/",
            EXCHANGE_ACCESS,
            DESK_ACCESS,
        }
        for refused in ("/users", "/users/s02", "/groups", "/services", "/info", "/proxy"):
            assert server.get(refused).status_code in (403, 404), refused
        assert server.post("/users/s01/tokens").status_code == 403
        assert server.delete("/users/s01/server").status_code == 403


def test_a_student_reaches_nobody_else(browser: Browser) -> None:
    browser.login("s01")
    for method, path in (
        ("GET", "/users"),
        ("GET", "/users/s02"),
        ("POST", "/users/s02/server"),
        ("DELETE", "/users/s02/server"),
        ("POST", "/users/s02/tokens"),
        ("POST", "/users/new1"),
        ("DELETE", "/users/s02"),
        ("POST", "/groups/instructors/users"),
        ("GET", "/groups"),
        ("GET", "/proxy"),
        ("POST", "/shutdown"),
    ):
        assert browser.api(method, path, {"users": ["s01"]}).status_code in (403, 404), (method, path)
    assert browser.get("/admin").status_code == 403


def test_an_instructor_sees_starts_stops_and_may_open_the_servers_of_students_only(browser: Browser) -> None:
    browser.login("t01")
    listed = {user["name"]: user for user in browser.api("GET", "/users").json()}
    assert set(listed) == {"s01", "s02", "s03", "s04", "s05"}
    assert sorted(listed["s02"]["groups"]) == ["students", "team-b"]
    assert browser.api("POST", "/users/s02/server").status_code == 201
    assert "" in browser.api("GET", "/users/s02").json()["servers"]
    assert browser.api("DELETE", "/users/s02/server").status_code in (202, 204)
    assert "access:servers!group=students" in browser.api("GET", "/user").json()["scopes"]
    assert browser.get("/admin").status_code == 200
    for method, path in (
        ("POST", "/users/op/server"),
        ("POST", "/users/m01/server"),
        ("GET", "/users/op"),
        ("POST", "/users/s02/tokens"),
        ("DELETE", "/users/s02"),
        ("POST", "/users/new1"),
        ("POST", "/groups/instructors/users"),
    ):
        assert browser.api(method, path, {"users": ["s01"]}).status_code in (403, 404), (method, path)


def test_a_mentor_has_no_more_than_a_student(browser: Browser) -> None:
    browser.login("m01")
    assert browser.api("GET", "/users").status_code == 403
    assert browser.api("POST", "/users/s01/server").status_code in (403, 404)


def test_an_operator_is_admin(browser: Browser) -> None:
    browser.login("op")
    assert browser.api("GET", "/user").json()["admin"] is True
    assert browser.api("GET", "/users/s01").status_code == 200


def test_nobody_outside_the_roster_can_become_a_user(browser: Browser) -> None:
    browser.login("op")
    assert browser.api("POST", "/users/stranger").status_code == 400


def test_too_many_wrong_passwords_make_one_account_wait_and_nobody_else(hub: ClassHub, browser: Browser) -> None:
    with Browser(hub) as own:
        assert own.login("s03").status_code == 302
        assert [browser.login("s03", "wrong").status_code for _ in range(6)] == [403] * 5 + [429]
        waiting = browser.login("s03")
        assert waiting.status_code == 429
        assert 0 < int(waiting.headers["retry-after"]) <= 30
        assert f"{waiting.headers['retry-after']}초 뒤에" in waiting.text
        assert browser.login("s04").status_code == 302
        own.get("/logout")
        assert own.login("s03").status_code == 302, "a neighbour locked somebody out of their own machine"


def test_a_reset_password_counts_at_once_and_ends_the_wait(hub: ClassHub, browser: Browser) -> None:
    old = hub.passwords["s04"]
    for _ in range(6):
        browser.login("s04", "wrong")
    assert browser.login("s04").status_code == 429
    hub.passwords["s04"] = hub.roster("reset", "s04").strip()
    assert browser.login("s04", old).status_code == 403
    assert browser.login("s04").status_code == 302


def test_an_import_moves_people_in_a_running_hub_and_sends_leavers_out(hub: ClassHub, browser: Browser) -> None:
    browser.login("s05")
    browser.api("POST", "/users/s05/server")
    with hub.client((hub.folder / "s05").read_text()) as server:
        assert server.get("/user").status_code == 200
        changed = ROSTER.replace("s05,정달,student,a\n", "").replace("이바다,student,b", "이바다,student,a")
        output = hub.import_roster(changed + "s06,신참,student,c\n")
        assert "The running hub knows." in output
        users = hub.users()
        assert "s05" not in users
        assert sorted(users["s06"]["groups"]) == ["students", "team-c"]
        assert sorted(users["s02"]["groups"]) == ["students", "team-a"]
        assert server.get("/user").status_code == 403, "the leaver's server still has its token"
        assert browser.get("/home").status_code == 302, "the leaver is still logged in"
        refused = browser.login("s05")
        assert (refused.status_code, "지금 수업 명단에 없어요" in refused.text) == (403, True)
        with hub.service("roster") as api:
            assert "team-b" not in {group["name"] for group in api.get("/groups").json()}
        with Browser(hub) as new:
            assert new.login("s06").status_code == 302
    hub.import_roster(ROSTER)
    assert browser.login("s05").status_code == 302, "who comes back keeps the password of the card"


def test_a_hub_that_was_down_during_an_import_is_right_after_its_start(hub: ClassHub, browser: Browser) -> None:
    with Browser(hub) as operator:
        operator.login("op")
        browser.login("t01")
        hub.stop()
        changed = ROSTER.replace("t01,박선생,instructor,", "t01,박선생,student,b").replace("op,정운영,operator,", "")
        assert "No hub is running" in hub.import_roster(changed + "op2,새운영,operator,\n")
        hub.start()
        assert sorted(hub.users()["t01"]["groups"]) == ["students", "team-b"]
        assert browser.api("GET", "/users").status_code == 403, "no longer an instructor, but lists users"
        assert operator.get("/home").status_code == 302, "no longer in the class, but logged in"
        left = hub.users()["op"]
        assert (left["groups"], left["admin"]) == ([], False), "no longer in the class, but with rights"
        assert sorted(hub.users()["op2"]["groups"]) == ["operators"]
    with Browser(hub) as operator:
        operator.login("op2")
        assert operator.api("GET", "/user").json()["admin"] is True
