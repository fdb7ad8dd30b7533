"""A full round with ngshare's own client, ngshare_exchange, unchanged, against our service."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from benchmarks.submitting import ngshare
from gpuclass import ROOT
from tests.exchange.conftest import Camp, running, user

pytestmark = pytest.mark.slow

COURSE = "Algebra"
NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()
ANSWER = NOTEBOOK.replace(b'"cells": []', b'"cells": [], "answer": 42')


class Desk:
    """Somebody with ngshare's client in a folder of their own."""

    def __init__(self, camp: Camp, login: str, folder: Path) -> None:
        folder.mkdir()
        camp.hub.users[f"token-of-{login}"] = user(login)
        self.folder = folder
        url = f"{camp.settings.exchange_url}/api"
        self.write(
            "nbgrader_config.py",
            f"import ngshare_exchange\nngshare_exchange.configureExchange(get_config(), {url!r})\n".encode(),
        )
        with (folder / "log").open("wb") as log:
            self._process = self._start(login, url, log)

    def _start(self, login: str, url: str, log: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.exchange.ngshare_client", url],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ngshare.installed()), str(ROOT)]),
                "HOME": str(self.folder),
                "JUPYTER_DATA_DIR": str(self.folder / "data"),
                "JUPYTERHUB_USER": login,
                "JUPYTERHUB_API_TOKEN": f"token-of-{login}",
            },
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def press(self, what: str, assignment: str = "", **options: Any) -> Any:
        return self._ask(what, COURSE, assignment, options)

    def manage(self, *command: str) -> str:
        """``ngshare-course-management``, which finds the service by nbgrader's configuration."""
        said: str = self._ask("manage", *command)
        return said

    def _ask(self, *question: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(question)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self.folder / "log").read_text()
        answer = json.loads(line)
        assert answer["errors"] == []
        return answer["found"]

    def leave(self) -> None:
        with self._process:  # closes the pipes and waits
            pass
        assert self._process.returncode == 0

    def write(self, path: str, content: bytes) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[tuple[Camp, Desk, Desk, Desk]]:
    """A class without a roster's course: an operator makes one, ada teaches, bob learns."""
    folder = tmp_path / "camp"
    folder.mkdir()
    with running(folder, per_minute=100) as camp:
        operator, ada, bob = (Desk(camp, login, tmp_path / login) for login in ("operator", "ada", "bob"))
        yield camp, operator, ada, bob
        for desk in (operator, ada, bob):
            desk.leave()


def test_an_assignment_goes_all_the_way_round_with_ngshares_own_client(desks: tuple[Camp, Desk, Desk, Desk]) -> None:
    camp, operator, ada, bob = desks

    # A course and its people
    assert "Successfully created Algebra" in operator.manage("create_course", COURSE, "ada", "carl")
    added = operator.manage("add_instructor", COURSE, "ada", "-f", "Ada", "-l", "King", "-e", "ada@example.org")
    assert "Successfully added ada" in added
    assert "Successfully deleted instructor carl" in operator.manage("remove_instructor", COURSE, "carl")
    ada.write("class.csv", b"student_id,first_name,last_name,email\nbob,Bob,L,b@x.org\nada,,,\neve,Eve,,\n")
    listed = ada.manage("add_students", COURSE, "class.csv", "--no-gb")
    assert "bob was successfully added" in listed
    assert "error adding ada to Algebra: Cannot add instructor as student" in listed
    assert "Successfully added/updated dora" in ada.manage("add_student", COURSE, "dora", "-f", "D", "--no-gb")
    assert "Successfully deleted eve" in ada.manage("remove_students", COURSE, "eve", "--no-gb")
    people = camp.by("operator").get(f"api/students/{COURSE}").json()["students"]
    assert {person["username"] for person in people} == {"bob", "dora"}

    # Out to the students
    ada.write("release/ps1/ps1.ipynb", NOTEBOOK)
    ada.write("release/ps1/data/numbers.csv", b"1,2\n")
    ada.press("ReleaseAssignment", "ps1")
    assert [(item["assignment_id"], item["status"]) for item in bob.press("List")] == [("ps1", "released")]
    bob.press("FetchAssignment", "ps1")
    assert bob.read("ps1/ps1.ipynb") == NOTEBOOK
    assert bob.read("ps1/data/numbers.csv") == b"1,2\n"
    assert [item["status"] for item in bob.press("List")] == ["fetched"]

    # And back, twice
    bob.press("Submit", "ps1")
    bob.write("ps1/ps1.ipynb", ANSWER)
    bob.press("Submit", "ps1")
    (inbound,) = ada.press("List", "ps1", inbound=True)
    assert [item["status"] for item in inbound["submissions"]] == ["submitted", "submitted"]
    ada.press("Collect", "ps1")
    assert ada.read("submitted/bob/ps1/ps1.ipynb") == ANSWER
    stamp = ada.read("submitted/bob/ps1/timestamp.txt").decode()
    assert stamp == inbound["submissions"][1]["timestamp"]

    # Feedback
    ada.write("feedback/bob/ps1/ps1.html", b"<p>Well done</p>")
    ada.write("feedback/bob/ps1/timestamp.txt", stamp.encode())
    ada.press("ReleaseFeedback", "ps1")
    (mine,) = bob.press("List", "ps1", cached=True)
    assert [item["has_exchange_feedback"] for item in mine["submissions"]] == [False, True]
    bob.press("FetchFeedback", "ps1")
    assert bob.read(f"ps1/feedback/{stamp}/ps1.html") == b"<p>Well done</p>"

    # Released with --force, which deletes and releases: what it erases in ngshare stays in ours
    ada.write("release/ps1/ps1.ipynb", ANSWER)
    ada.press("ReleaseAssignment", "ps1", force=True)
    kept = camp.by("operator").get(f"api/submissions/{COURSE}/ps1/bob").json()["submissions"]
    assert [item["timestamp"] for item in kept] == [item["timestamp"] for item in inbound["submissions"]]
    files = camp.by("operator").get(f"api/assignment/{COURSE}/ps1").json()["files"]
    assert ANSWER in [base64.b64decode(file["content"]) for file in files]

    # Taken away
    (removed,) = ada.press("List", "ps1", remove=True)
    assert removed["assignment_id"] == "ps1"
    assert bob.press("List") == []
