"""ngshare's own tests pass against our service, but for those listed, each with its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.submitting import ngshare
from gpuclass import ROOT
from gpuclass.exchange.store.courses import Courses, Member
from gpuclass.exchange.store.store import Store
from gpuclass.roster import Roster
from tests.exchange.conftest import running, user

pytestmark = pytest.mark.slow

PEOPLE = ("kevin", "abigail", "lawrence", "eric", "none")
DUMP = "/api/initialize-Data6ase"  # the page that clears and shows ngshare's database
NOT_OURS = {  # the request at which each of ngshare's tests ends, because it is no part of the API
    "test_health": "/healthz",
    "test_home": "/api/",
    "test_init": DUMP,
    "test_nodebug": "",  # switches a mode of its own process first
    "test_remove_course": DUMP,  # after all courses were removed
    "test_corner_case": "/api/submission/course2/assignment2a",  # after a reset that is none, in what was removed
}


def seed(folder: Path, own: str) -> None:
    """What ngshare's ``init_db`` puts into its database, times included; the class's ``own`` course is out of sight."""
    with Store(folder) as store:
        courses = Courses(store, "course1", lambda: Roster(()))
        courses.hide(own)
        courses.create("course2", ["abigail"])
        courses.put("course1", Member("kevin", "instructor"))
        courses.put("course1", Member("lawrence", "student"))
        courses.put("course2", Member("eric", "student"))
        for course, name, file in (
            ("course2", "assignment2a", {"file0": b"00000"}),
            ("course2", "assignment2b", {"file1": b"11111"}),
            ("course1", "challenge", {"file2": b"22222"}),
        ):
            store.release(course, name, file, by="kevin")
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        first = store.submit("course1", "challenge", "lawrence", {"file3": b"33333"}, received=long_ago)
        store.submit("course1", "challenge", "lawrence", {"file4": b"44444"})
        store.put_feedback(first, {"file5": b"55555"}, released=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of each of ngshare's tests what it failed with."""
    folder = tmp_path_factory.mktemp("camp")
    with running(folder, per_minute=10_000) as camp:
        seed(camp.settings.exchange_folder, camp.settings.course)
        camp.hub.users["token-of-root"] = user("operator")
        for who in PEOPLE:
            camp.hub.users[f"token-of-{who}"] = user(who)
        done = subprocess.run(
            [sys.executable, "-m", "tests.exchange.ngshare_suite", camp.settings.exchange_url],
            env={**os.environ, "PYTHONPATH": str(ngshare.installed())},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout.splitlines()[-1])


def test_ngshares_tests_pass_as_far_as_they_ask_its_api(results: dict[str, str]) -> None:
    wrong = {name: reason for name, reason in results.items() if reason and name not in NOT_OURS}
    assert wrong == {}, json.dumps(wrong, indent=1)
    assert len(results) - len(NOT_OURS) == 21


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_is_no_part_of_the_api_is_where_the_others_end(results: dict[str, str], name: str) -> None:
    assert results[name].startswith(f"{NOT_OURS[name]} in line"), results[name]
